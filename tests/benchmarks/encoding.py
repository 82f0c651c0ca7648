"""Measure the CPU time and the size of PNG files for different settings of Pillow.

    python tests/benchmarks/encoding.py [--rounds N] [--sides N...] [--page FILE]

Encodes photographs of scikit-image, images of the bundled model (original size and enlarged) and noise. Each variant
runs once per round, so that other load affects all variants equally. The section `encoding` of `RESULTS.md` contains
the CPU time per image (mean over images of the median over rounds) and the size relative to Pillow's default.
"""

import argparse
import importlib.metadata
import io
import os
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import results
from PIL import Image
from skimage import data

from artgen import Txt2Img, generate
from artgen.outputs.png import encode_png

TITLE = """
## `encoding.py`: PNG files, CPU time in ms and size relative to Pillow's default

Photographs: four of scikit-image. Drawings: four images of the bundled model, enlarged for sizes above 128 pixels.
"""
CONCLUSION = """
Level 1 with `Z_RLE` needs about a third of the CPU time of Pillow's default, at about the same file size.
"""
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
PROMPTS = ("a red fox", "a lighthouse", "a cat", "a castle")
SIDES = (512, 1024)
DEFAULT = "Pillow, default"

Encoder = Callable[[Image.Image], bytes]


def pillow_encoder(**options: int) -> Encoder:
    def encode(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        return buffer.getvalue()

    return encode


ENCODERS: dict[str, Encoder] = {
    DEFAULT: pillow_encoder(),
    "Pillow, level 1": pillow_encoder(compress_level=1),
    "Pillow, level 1, Z_RLE": pillow_encoder(compress_level=1, compress_type=zlib.Z_RLE),
    "Pillow, level 9 (`--png-level 9`)": pillow_encoder(compress_level=9),
    "**artgen, with metadata**": lambda image: encode_png(image, {}),
}


Samples = dict[tuple[str, str], list[list[tuple[float, int]]]]
"""Encoder and kind of image -> for each image, one (CPU time in ms, bytes) per round."""

Figures = dict[str, dict[str, tuple[float, float]]]
"""Encoder -> kind of image -> CPU time in ms per image, size relative to Pillow's default."""


def test_images(sides: Sequence[int]) -> dict[str, list[Image.Image]]:
    """Return the images by the heading of their column."""
    generated = [generate(Txt2Img(prompt=prompt, seed=7, model="tiny")).image for prompt in PROMPTS]
    photographs = [Image.fromarray(getattr(data, name)()) for name in PHOTOGRAPHS]
    images_by_kind = {f"drawings {generated[0].width}": generated}
    for name, images in (("photographs", photographs), ("drawings", generated)):
        for side in sides:
            images_by_kind[f"{name} {side}"] = [each.resize((side, side), Image.Resampling.LANCZOS) for each in images]
    noise = numpy.random.default_rng(0).integers(0, 256, (sides[-1], sides[-1], 3), numpy.uint8)
    return {**images_by_kind, f"noise {sides[-1]}": [Image.fromarray(noise)]}


def measure(kinds: dict[str, list[Image.Image]], rounds: int) -> Samples:
    """Encode each image with each encoder once per round."""
    samples: Samples = {(name, kind): [[] for _ in images] for name in ENCODERS for kind, images in kinds.items()}
    for _ in range(rounds):
        for kind, images in kinds.items():
            for number, image in enumerate(images):
                for name, encode in ENCODERS.items():
                    started = time.thread_time()
                    size = len(encode(image))
                    samples[name, kind][number].append((1000 * (time.thread_time() - started), size))
    return samples


def summarize(samples: Samples) -> Figures:
    """Return the mean over images of the median time, and the total size relative to Pillow's default."""
    figures: Figures = {name: {} for name in ENCODERS}
    for (name, kind), by_image in samples.items():
        ms = statistics.mean(statistics.median(ms for ms, _ in rounds) for rounds in by_image)
        size, default = (sum(rounds[0][1] for rounds in samples[each, kind]) for each in (name, DEFAULT))
        figures[name][kind] = round(ms, 3), round(size / default, 4)
    return figures


def table(figures: Figures) -> str:
    """Return a Markdown table with a line per encoder and a column per kind of image."""
    kinds = list(figures[DEFAULT])
    lines = [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for name, by_kind in figures.items():
        cells = [f"{ms:.{1 if ms < 100 else 0}f}, {size:.2f}" for ms, size in by_kind.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(args: Any) -> None:
    load = os.getloadavg()[0]
    figures = summarize(measure(test_images(args.sides), args.rounds))
    pillow = f"Pillow {importlib.metadata.version('Pillow')}"
    how = f"medians of {args.rounds} rounds, load {load:.1f} to {os.getloadavg()[0]:.1f}, {pillow}"
    text = "\n\n".join(
        [TITLE.strip(), f"{results.machine()}, {results.today()};\n{how}.", table(figures), CONCLUSION.strip()]
    )
    results.write("encoding", text, figures, args.page)


def parse_arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="runs per encoder")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, metavar="N", help="side lengths in pixels")
    parser.add_argument("--page", type=Path, default=results.PAGE, metavar="FILE", help="page to write")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_arguments())
