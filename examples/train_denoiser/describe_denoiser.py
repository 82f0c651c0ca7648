"""Write `provenance.json` and the model card (`README.md`) of the exported denoiser.

The numbers are from the checkpoint and from `table.md` of `examples/denoise_benchmark`; the table is omitted if
`--benchmark` is not used. `SHA256SUMS` contains all files.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sources import HELD_OUT, IMAGE_LIST_FILE, SOURCES, VALIDATION_PANORAMAS

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from export import sha256_sums

HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-image
tags: [denoising, diffusers, unconditional, pixel-space]
---

# denoiser: artgen's bundled denoising model

A small unconditional diffusion model in pixel space, trained from scratch on openly licensed photographs and synthetic
images. `artgen denoise` uses the model; `DDIMPipeline.from_pretrained(folder)` loads it. Its noise levels are the
sigmas 0.1 to 100 (for pixel values 0 to 255) in steps of 0.1. It predicts the noise (epsilon).

## Intended use

Use the model to remove white noise (sensor noise, grain) of sigma 1 to 100 from photographs and drawings. One call at
the noise level of the image returns the posterior mean; a few DDIM steps return a sharper image.

## Limits

- Spatially correlated noise (JPEG artifacts, the noise reduction of cameras) is removed less well.
- The highest noise level is sigma 100, so the model cannot generate images from pure noise.
- The training data has a few megapixels. Larger networks with longer training (DRUNet, DMID) reach a PSNR that is
  higher by 1 dB or more.
- The model estimates details that the noise hides. Do not identify faces, numbers or medical findings in a denoised
  image.
"""


def provenance(raw: Path, work: Path) -> dict[str, Any]:
    """Return every source with its hash and license, and each image with its hash."""
    images = json.loads((raw / IMAGE_LIST_FILE).read_text())
    return {
        "sources": [asdict(source) for source in SOURCES],
        # The published `provenance.json` has this key.
        "pictures": [entry for entry in images if not entry["file"].startswith("held-out/")],
        "made up": f'{len(np.load(work / "leaves.npy", mmap_mode="r"))} "dead leaves" images of 256x256 pixels',
        "watched, not trained on": list(VALIDATION_PANORAMAS),
        "held out for the benchmark": list(HELD_OUT),
    }


def data_section(record: dict[str, Any]) -> str:
    """Return the sources as a table."""
    lines = ["\n## Data\n", "| source | license | by | images |", "|---|---|---|---|"]
    for source in record["sources"]:
        name = f"`{source['package']}` {source['version']} ({source['registry']})"
        taken = ", ".join(Path(member).name.split(".")[0] for member in source["taken"])
        lines.append(f"| {name} | {source['licence']} | {source['author']} | {taken} |")
    lines.append(f"\nAdditional data: {record['made up']} with colors and textures of the same photographs.")
    lines.append(f"Not used in training: {', '.join(record['held out for the benchmark'])} of scikit-image.")
    lines.append("Hashes are in `provenance.json`.")
    return "\n".join(lines) + "\n"


def training_section(work: Path, batch: int, note: str) -> str:
    """Describe size, patches and minutes, from the checkpoint."""
    state = torch.load(work / "denoiser.pt", map_location="cpu", weights_only=False)
    million = sum(value.numel() for value in state["average"]) / 1e6
    return (
        f"\n## Training\n\n{million:.1f} million parameters, widths {', '.join(map(str, state['width']))}. "
        f"{state['step']:,} steps with {batch} patches of 64x64 pixels ({state['step'] * batch:,} patches) in bfloat16 "
        f"took {state['seconds'] / 60:.0f} minutes on two CPU cores shared with other work. {note}\n"
        "The recipe is `examples/train_denoiser/` in artgen's repository.\n"
    )


def benchmark_section(folder: Path, timing: str) -> str:
    """Return the tables of the benchmark."""
    return (
        "\n## Evaluation\n\nThe test images are photographs that are not in the training data, with Gaussian noise, "
        "clipped and rounded to 8 bits. Every method gets the true sigma. `examples/denoise_benchmark` creates these "
        f"tables and documents the parameters of the classical methods.\n\n"
        f"{(folder / 'table.md').read_text()}\n{timing}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_denoiser"))
    parser.add_argument("--benchmark", type=Path, help="output folder of the benchmark")
    parser.add_argument("--batch", type=int, default=8, help="batch size of train_denoiser.py")
    parser.add_argument("--note", default="", help="a sentence about the training")
    parser.add_argument("--timing", default="", help="a sentence about the time measurement")
    parser.add_argument("--out", type=Path, default=Path("data/train_denoiser/model"))
    options = parser.parse_args()
    record = provenance(options.data, options.work)
    (options.out / "provenance.json").write_text(json.dumps(record, indent=2) + "\n")
    card = HEADER + data_section(record) + training_section(options.work, options.batch, options.note)
    if options.benchmark:
        card += benchmark_section(options.benchmark, options.timing)
    (options.out / "README.md").write_text(card)
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))


if __name__ == "__main__":
    main()
