"""Copy the trained upscaler to a folder, and write `provenance.json`, the model card (`README.md`) and `SHA256SUMS`.

The numbers are from the checkpoint and from `tests/benchmarks/results/upscale.json`; the table is omitted if
`--benchmark` is not used.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("train_tiny", "train_denoiser")]
from describe_denoiser import data_section, provenance
from export import sha256_sums

HEADER = """---
license: apache-2.0
pipeline_tag: image-to-image
tags: [super-resolution, upscaling]
---

# tiny-x2: artgen's bundled upscaler

A small network that enlarges images by 2: SRVGGNetCompact of Real-ESRGAN (arXiv 2107.10833), trained from scratch with
the mean absolute error on openly licensed photographs and synthetic images, without a GAN.
`artgen upscale FILE --method model --upscaler tiny-x2` uses it without a download.

## Intended use

Use the network for images that were reduced with a smooth filter and for generated images, without noise.

## Limits

- The network restores edges. It does not generate texture; larger networks such as Swin2SR restore more details.
- It was trained on images that were reduced by bicubic filtering, a box filter or Lanczos. It also enlarges noise and
  the artifacts of JPEG files.
- The training data has a few megapixels, and the training took some minutes.
"""


def training_section(work: Path, batch: int) -> str:
    """Describe the size, the patches and the minutes, from the checkpoint."""
    state = torch.load(work / "upscaler.pt", map_location="cpu", weights_only=False)
    parameters = sum(value.numel() for value in load_file(work / "model.safetensors").values())
    return (
        f"\n## Training\n\n{parameters:,} parameters. {state['step']:,} steps with {batch} patches of 48x48 pixels "
        f"took {state['seconds'] / 60:.0f} minutes on one CPU core shared with other work. The weights are the average "
        "of the last steps, in half precision.\nThe recipe is `examples/train_upscaler/` in artgen's repository.\n"
    )


def benchmark_section(rows: list[dict[str, Any]]) -> str:
    """Return the measurements of the network and of Lanczos as a table."""
    lines = [
        "\n## Evaluation\n\nPhotographs that are not in the training data, reduced by bicubic filtering "
        "(`tests/benchmarks/upscale.py`): mean of four images.\n",
        "| factor | method | PSNR in dB | SSIM | perceptual distance |\n|---|---|---|---|---|",
    ]
    for row in rows:
        if row["method"] in ("lanczos", "tiny-x2"):
            lines.append(
                f"| {row['factor']} | {row['method']} | {row['psnr']:.2f} | {row['ssim']:.3f} | {row['distance']:.4f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    parser.add_argument("--leaves", type=Path, default=Path("data/train_denoiser/leaves.npy"))
    parser.add_argument("--work", type=Path, default=Path("data/train_upscaler"))
    parser.add_argument("--benchmark", type=Path, help="measurements of tests/benchmarks/upscale.py")
    parser.add_argument("--batch", type=int, default=8, help="batch size of train_upscaler.py")
    parser.add_argument("--out", type=Path, default=Path("data/train_upscaler/model"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(options.work / "model.safetensors", options.out / "model.safetensors")
    record = provenance(options.data, options.leaves.parent)
    (options.out / "provenance.json").write_text(json.dumps(record, indent=2) + "\n")
    card = HEADER + data_section(record) + training_section(options.work, options.batch)
    if options.benchmark:
        card += benchmark_section(json.loads(options.benchmark.read_text())["rows"])
    (options.out / "README.md").write_text(card)
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))


if __name__ == "__main__":
    main()
