"""Measure the time to sign and to verify a file with a C2PA manifest.

    python tests/benchmarks/signing.py [--rounds N] [--side N] [--page FILE]

Signs and verifies a photograph of scikit-image in each format: without parents, and with a signed parent of the same
size. Each case runs once per round, so that other load affects all cases equally. The section `signing` of `RESULTS.md`
contains the medians over the rounds, CPU time and wall time.
"""

import argparse
import importlib.metadata
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
from PIL import Image
from skimage import data

from artgen.metadata.content_credentials.create_key import create_signing_key
from artgen.metadata.content_credentials.keys import SigningKey
from artgen.metadata.content_credentials.manifest import Parent
from artgen.metadata.content_credentials.reading import Verifier
from artgen.metadata.content_credentials.signing import sign_image
from artgen.outputs.animation import encode_animation
from artgen.outputs.encoding import EncodingOptions, encode_unsigned

KINDS = ("png", "jpeg", "webp", "gif", "tiff")
MAX_SIGNING_MS = 30.0
RECORD = {"artgen": "0.1.0", "task": "img2img", "model": "sdxl", "model_hash": "ab" * 32, "prompt": "a red fox",
          "steps": 30, "image": "photo.png"}  # fmt: skip
COLUMNS = ("sign", "sign, with a parent", "verify", "verify, with a parent")

Figures = dict[str, dict[str, tuple[float, float, int]]]
"""Format -> column -> CPU time in ms, wall time in ms, bytes that the signature adds."""


def encode(kind: str, side: int) -> bytes:
    """Return the bytes of a photograph with a record."""
    image = Image.fromarray(data.astronaut()).resize((side, side), Image.Resampling.LANCZOS)
    if kind in ("png", "jpeg", "webp"):
        return encode_unsigned(image, RECORD, EncodingOptions(kind))[0]
    if kind == "gif":
        return encode_animation([image], "gif", None)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return buffer.getvalue()


def cases(kind: str, side: int, key: SigningKey, verifier: Verifier) -> dict[str, tuple[Callable[[], object], int]]:
    """Return the measured functions of a format by column, and the number of bytes that the signature adds."""
    file = encode(kind, side)
    parents = [Parent("photo.png", sign_image(encode("png", side), "png", RECORD, (), key))]
    alone, child = (sign_image(file, kind, RECORD, each, key) for each in ((), parents))
    return {
        COLUMNS[0]: (lambda: sign_image(file, kind, RECORD, (), key), len(alone) - len(file)),
        COLUMNS[1]: (lambda: sign_image(file, kind, RECORD, parents, key), len(child) - len(file)),
        COLUMNS[2]: (lambda: verifier.verify(alone, kind), 0),
        COLUMNS[3]: (lambda: verifier.verify(child, kind), 0),
    }


def measure(side: int, rounds: int) -> Figures:
    """Return the medians over the rounds. The first round, which loads the library, is not measured."""
    with tempfile.TemporaryDirectory() as folder:
        key = create_signing_key(Path(folder))
    verifier = Verifier()
    by_kind = {kind: cases(kind, side, key, verifier) for kind in KINDS}
    samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for kind, functions in by_kind.items():
            for column, (function, _) in functions.items():
                cpu, wall = time.process_time(), time.perf_counter()
                function()
                times = time.process_time() - cpu, time.perf_counter() - wall
                samples.setdefault((kind, column), []).append((1000 * times[0], 1000 * times[1]))
    figures: Figures = {}
    for (kind, column), found in samples.items():
        cpu_ms, wall_ms = (round(statistics.median(values), 2) for values in zip(*found, strict=True))
        figures.setdefault(kind, {})[column] = cpu_ms, wall_ms, by_kind[kind][column][1]
    return figures


def import_seconds() -> float:
    """Return the time to import c2pa in a new process, in seconds."""
    program = "import time; t = time.perf_counter(); import c2pa; print(time.perf_counter() - t)"
    found = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout) for _ in range(3)
    ]
    return statistics.median(found)


def table(figures: Figures) -> str:
    """Return a Markdown table with a line per format."""
    lines = [f"| | {' | '.join(COLUMNS)} | bytes added |", "|---" * (len(COLUMNS) + 2) + "|"]
    for kind, by_column in figures.items():
        cells = [f"{cpu:.1f}, {wall:.1f}" for cpu, wall, _ in by_column.values()]
        added = ", ".join(f"{by_column[column][2]:,}" for column in COLUMNS[:2])
        lines.append(f"| {kind} | {' | '.join(cells)} | {added} |")
    return "\n".join(lines)


def main(args: Any) -> None:
    load = os.getloadavg()[0]
    figures = measure(args.side, args.rounds)
    highest = max(cpu for by_column in figures.values() for cpu, _, _ in list(by_column.values())[:2])
    slowest = max(wall for by_column in figures.values() for _, wall, _ in list(by_column.values())[:2])
    how = (
        f"medians of {args.rounds} rounds, load {load:.1f} to {os.getloadavg()[0]:.1f}, c2pa-python "
        f"{importlib.metadata.version('c2pa-python')}; importing it takes {import_seconds():.2f} s once per process"
    )
    verdict = "met" if highest <= MAX_SIGNING_MS else "**not met**"
    text = "\n\n".join(
        [
            f"## `signing.py`: C2PA signatures at {args.side}x{args.side}, CPU time and wall time in ms",
            "The parent is a signed PNG file of the same size. `bytes added`: without and with the parent.",
            f"{results.machine()}, {results.today()};\n{how}.",
            table(figures),
            f"Goal: signing takes at most {MAX_SIGNING_MS:.0f} ms per file. CPU time of the slowest format with a "
            f"parent: {highest:.1f} ms, {verdict}.\nThe wall time includes waiting for other processes of the machine "
            f"(see the load): up to {slowest:.1f} ms.",
        ]
    )
    results.write("signing", text, {"side": args.side, "figures": figures}, args.page)


def parse_arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="runs per case")
    parser.add_argument("--side", type=int, default=512, metavar="N", help="width and height in pixels")
    parser.add_argument("--page", type=Path, default=results.PAGE, metavar="FILE", help="page to write")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_arguments())
