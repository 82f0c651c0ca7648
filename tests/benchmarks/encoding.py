"""Measure the CPU time and the size of PNG files for different settings of Pillow.

    python tests/benchmarks/encoding.py [--rounds N] [--sides N...] [--page FILE]

Writes photographs of scikit-image, pictures of the bundled model, as they are and enlarged, and noise, every way once a
round, so that whatever else the machine does disturbs all of them alike. The section `encoding` of `RESULTS.md` gets
the processor time of one picture (the mean over pictures of the median over rounds) and the size beside Pillow's.
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
## `encoding.py`: PNG files, processor time in ms and size beside Pillow's

Photographs are four of scikit-image, drawings four of the bundled model, those of other sizes than its own enlarged.
"""
VERDICT = """
Level 1 with `Z_RLE` needs about a third of the CPU time of Pillow's default, at about the same file size.
"""
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
PROMPTS = ("a red fox", "a lighthouse", "a cat", "a castle")
SIDES = (512, 1024)
WHOLE = "Pillow, as it comes"

Way = Callable[[Image.Image], bytes]


def by_pillow(**options: int) -> Way:
    def write(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        return buffer.getvalue()

    return write


WAYS: dict[str, Way] = {
    WHOLE: by_pillow(),
    "Pillow, level 1": by_pillow(compress_level=1),
    "Pillow, level 1, runs only": by_pillow(compress_level=1, compress_type=zlib.Z_RLE),
    "Pillow, level 9 (`--png-level 9`)": by_pillow(compress_level=9),
    "**artgen, the whole file**": lambda image: encode_png(image, {}),
}


Samples = dict[tuple[str, str], list[list[tuple[float, int]]]]
"""By way and kind, for each picture, what each round gave: milliseconds of processor time, and bytes."""

Figures = dict[str, dict[str, tuple[float, float]]]
"""By way and kind: milliseconds a picture, and the size beside Pillow's."""


def pictures(sides: Sequence[int]) -> dict[str, list[Image.Image]]:
    """By what they are called in the table."""
    drawn = [generate(Txt2Img(prompt=prompt, seed=7, model="tiny")).image for prompt in PROMPTS]
    photographs = [Image.fromarray(getattr(data, name)()) for name in PHOTOGRAPHS]
    found = {f"drawings {drawn[0].width}": drawn}
    for name, images in (("photographs", photographs), ("drawings", drawn)):
        for side in sides:
            found[f"{name} {side}"] = [each.resize((side, side), Image.Resampling.LANCZOS) for each in images]
    noise = numpy.random.default_rng(0).integers(0, 256, (sides[-1], sides[-1], 3), numpy.uint8)
    return {**found, f"noise {sides[-1]}": [Image.fromarray(noise)]}


def measure(kinds: dict[str, list[Image.Image]], rounds: int) -> Samples:
    """Writes every picture every way, once a round."""
    found: Samples = {(way, kind): [[] for _ in images] for way in WAYS for kind, images in kinds.items()}
    for _ in range(rounds):
        for kind, images in kinds.items():
            for number, image in enumerate(images):
                for name, way in WAYS.items():
                    began = time.thread_time()
                    size = len(way(image))
                    found[name, kind][number].append((1000 * (time.thread_time() - began), size))
    return found


def figures(found: Samples) -> Figures:
    """The mean over pictures of the median over rounds, and all bytes over all of Pillow's."""
    summed: Figures = {way: {} for way in WAYS}
    for (way, kind), by_picture in found.items():
        took = statistics.mean(statistics.median(ms for ms, _ in rounds) for rounds in by_picture)
        size, whole = (sum(rounds[0][1] for rounds in found[name, kind]) for name in (way, WHOLE))
        summed[way][kind] = round(took, 3), round(size / whole, 4)
    return summed


def table(found: Figures) -> str:
    """A line for each way, a column for each kind of picture."""
    kinds = list(found[WHOLE])
    lines = [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for way, by_kind in found.items():
        cells = [f"{took:.{1 if took < 100 else 0}f}, {size:.2f}" for took, size in by_kind.values()]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given: Any) -> None:
    load = os.getloadavg()[0]
    found = figures(measure(pictures(given.sides), given.rounds))
    pillow = f"Pillow {importlib.metadata.version('Pillow')}"
    how = f"medians of {given.rounds} rounds, load {load:.1f} to {os.getloadavg()[0]:.1f}, {pillow}"
    text = "\n\n".join(
        [TITLE.strip(), f"{results.machine()}, {results.today()};\n{how}.", table(found), VERDICT.strip()]
    )
    results.write("encoding", text, found, given.page)


def arguments() -> Any:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each way runs")
    words.add_argument("--sides", type=int, nargs="+", default=SIDES, metavar="N", help="pixels a side of a picture")
    words.add_argument("--page", type=Path, default=results.PAGE, metavar="FILE", help="the page to write")
    return words.parse_args()


if __name__ == "__main__":
    main(arguments())
