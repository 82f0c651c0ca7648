"""Write `provenance.json` and the model card (`README.md`) of the exported denoiser.

The figures are from the checkpoint and from `measurements.json` of `examples/denoise_benchmark`; missing measurements
are omitted. The card contains the table of the benchmark; `SHA256SUMS` contains all files.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sources import HELD_OUT, SOURCES, WATCHED

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from export import sums

HEAD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-image
tags: [denoising, diffusers, unconditional, pixel-space]
---

# denoiser: artgen's bundled remover of noise

A small unconditional diffusion model that works on pixels, trained from nothing on openly licensed photographs and
made-up pictures. `artgen denoise` uses it; `DDIMPipeline.from_pretrained(folder)` loads it. Its levels are the sigmas
0.1 to 100 (on 0 to 255) in steps of 0.1; it predicts the noise.

## Intended use

Removing white noise, such as sensor noise and grain, of sigma 1 to 100 from photographs and drawings: one call at the
level of the noise gives the posterior mean, a few steps of DDIM a sharper picture.

## Limits

- Noise that is correlated from pixel to pixel (JPEG, a camera's own smoothing) is removed less well.
- Its levels end at sigma 100, so it draws no pictures from pure noise.
- It saw a few megapixels: a larger network trained longer (DRUNet, DMID) is better by a decibel and more.
- What noise has hidden is guessed. Do not read faces, numbers or medical findings from a picture that was denoised.
"""


def provenance(raw: Path, work: Path) -> dict[str, Any]:
    """Return every source with its hash and license, and each image with its hash."""
    listed = json.loads((raw / "pictures.json").read_text())
    return {
        "sources": [asdict(source) for source in SOURCES],
        "pictures": [entry for entry in listed if not entry["file"].startswith("held-out/")],
        "made up": f"{len(np.load(work / 'leaves.npy', mmap_mode='r'))} pictures of dead leaves, 256x256",
        "watched, not trained on": list(WATCHED),
        "held out for the benchmark": list(HELD_OUT),
    }


def data_section(record: dict[str, Any]) -> str:
    """Return the sources as a table."""
    lines = ["\n## Data\n", "| source | licence | by | pictures |", "|---|---|---|---|"]
    for source in record["sources"]:
        name = f"`{source['package']}` {source['version']} ({source['registry']})"
        taken = ", ".join(Path(member).name.split(".")[0] for member in source["taken"])
        lines.append(f"| {name} | {source['licence']} | {source['author']} | {taken} |")
    lines.append(f"\nBeside them {record['made up']}, with colours and textures of the same photographs.")
    lines.append(f"Never opened by training: {', '.join(record['held out for the benchmark'])} of scikit-image.")
    lines.append("Hashes are in `provenance.json`.")
    return "\n".join(lines) + "\n"


def training_section(work: Path, batch: int, note: str) -> str:
    """Describe size, patches and minutes, from the checkpoint."""
    state = torch.load(work / "denoiser.pt", map_location="cpu", weights_only=False)
    million = sum(value.numel() for value in state["average"]) / 1e6
    return (
        f"\n## Training\n\n{million:.1f} million parameters, widths {', '.join(map(str, state['width']))}. "
        f"{state['step']:,} steps of {batch} patches of 64x64, {state['step'] * batch:,} in all, in "
        f"{state['seconds'] / 60:.0f} minutes on two CPU cores shared with other work, in bfloat16. {note}\n"
        "The recipe is `examples/train_denoiser/` in artgen's repository.\n"
    )


def benchmark_section(folder: Path, timing: str) -> str:
    """Return the tables of the benchmark."""
    return (
        "\n## Evaluation\n\nOn photographs that training never saw, with Gaussian noise added, clipped and rounded to "
        "8 bits; every method is told the true sigma. `examples/denoise_benchmark` makes these tables and says how the "
        f"classical methods were tuned.\n\n{(folder / 'table.md').read_text()}\n{timing}\n"
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
    card = HEAD + data_section(record) + training_section(options.work, options.batch, options.note)
    if options.benchmark:
        card += benchmark_section(options.benchmark, options.timing)
    (options.out / "README.md").write_text(card)
    (options.out / "SHA256SUMS").write_text(sums(options.out))


if __name__ == "__main__":
    main()
