"""Measure variants of the same work in turns: wall time, CPU time and peak memory of each variant."""

import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageChops

Samples = dict[str, dict[str, list[float]]]
"""Variant -> column -> one value per round."""

OUT = "{out}"
"""Placeholder in a command for the output folder of the run, which is empty at first. Its images are compared."""

CACHE = f"{OUT}/cache"
"""Cache folder of a run that must not use earlier entries. Its size is measured."""

RESULT_PREFIX = "result: "
"""Start of the line of stdout on which a program reports its own measurements as JSON."""


@dataclass(frozen=True)
class Variant:
    """Represent one variant of the work of a row.

    Attributes:
        name: label in the table.
        command: program and arguments, with `OUT` for the output folder.
        exit: expected exit code.
        scale: factor of the times, if the variant does a part of the work of the others.
    """

    name: str
    command: tuple[str, ...]
    exit: int = 0
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """Represent one comparison. The other variants are compared with the first one.

    Attributes:
        name: name for `--only`.
        title: description of the work, with size, steps and dtype.
        variants: variants, each in its own process. A single variant may measure several variants in one process.
        columns: columns of the table: `wall`, `cpu` (seconds), `peak` (MiB), or measurements of the programs.
        rounds: number of runs per variant.
        needs: models, by their names in `workspace`, `cuda` and `openvino`.
        note: text below the title.
        cleanup: command that is run after the measurement.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    columns: tuple[str, ...] = ("wall", "cpu", "peak")
    rounds: int = 5
    needs: tuple[str, ...] = ()
    note: str = ""
    cleanup: tuple[str, ...] = ()


@dataclass
class Measured:
    """Store the samples of a row and how each variant's images differ from the first variant's images."""

    samples: Samples
    pixels: dict[str, str] = field(default_factory=dict)


class BenchmarkError(Exception):
    """Report an unexpected exit code of a program."""


def measure(row: Row, rounds: int, log: Callable[[str], None], warm_up: bool = True) -> Measured:
    """Run each variant of a row once per round, in turns, so that other load affects all variants equally.

    Raises:
        BenchmarkError: a program exited with an unexpected code.
    """
    measured = Measured({})
    try:
        _measure(row, rounds, log, measured, warm_up=warm_up)
    finally:
        if row.cleanup:
            subprocess.run(row.cleanup, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return measured


def _measure(row: Row, rounds: int, log: Callable[[str], None], measured: Measured, warm_up: bool) -> None:
    """Run the variants and compare their images."""
    with tempfile.TemporaryDirectory(prefix="artgen-benchmark-") as scratch:
        for number in range(0 if warm_up else 1, rounds + 1):
            for variant in row.variants:
                folder = Path(scratch, variant.name.replace("/", "-"))
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                result = run(variant, folder)
                if number:  # Round 0 fills the file cache and the bytecode cache.
                    _add_samples(measured.samples, variant, result)
                    log(f"{row.name}: {variant.name}, round {number} of {rounds}")
        first = Path(scratch, row.variants[0].name.replace("/", "-"))
        for variant in row.variants[1:]:
            difference = _image_difference(first, Path(scratch, variant.name.replace("/", "-")))
            if difference:
                measured.pixels[variant.name] = difference


def run(variant: Variant, folder: Path) -> dict[str, object]:
    """Run a program. Return its wall time and CPU time in seconds, its peak memory in MiB, and its own measurements.

    CPU time includes child processes. Memory is that of the largest process, including mapped files. If the program
    created the folder `CACHE`, the result contains its size in MiB.

    Raises:
        BenchmarkError: the program exited with an unexpected code.
    """
    command = [part.replace(OUT, str(folder)) for part in variant.command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for the process again.
        out.seek(0)
        err.seek(0)
        if process.returncode != variant.exit:
            stderr = err.read().decode(errors="replace")[-2000:]
            raise BenchmarkError(f"{' '.join(command)} exited with code {process.returncode}:\n{stderr}")
        lines = [line for line in out.read().decode(errors="replace").splitlines() if line.startswith(RESULT_PREFIX)]
    result = json.loads(lines[-1][len(RESULT_PREFIX) :]) if lines else {}
    if (cache := Path(CACHE.replace(OUT, str(folder)))).is_dir():
        result["cache"] = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) / 2**20
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024, **result}


def _add_samples(samples: Samples, variant: Variant, result: dict[str, object]) -> None:
    """Add the result of a run. A program that measured several variants reports lists of values under `variants`."""
    variants = result.get("variants")
    if isinstance(variants, dict):
        for name, columns in variants.items():
            for column, values in columns.items():
                samples.setdefault(name, {}).setdefault(column, []).extend(values)
        return
    for column, value in result.items():
        if isinstance(value, int | float):
            factor = variant.scale if column in ("wall", "cpu") else 1.0
            samples.setdefault(variant.name, {}).setdefault(column, []).append(value * factor)


def ratio(samples: Samples, variant: str, reference: str, column: str) -> float:
    """Return the median over rounds of the reference's value divided by the variant's value."""
    pairs = zip(samples[reference][column], samples[variant][column], strict=False)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _image_difference(first: Path, second: Path) -> str:
    """Describe the difference of the images in two folders, in the order of their names; empty without images."""
    pairs = list(zip(_image_files(first), _image_files(second), strict=False))
    if not pairs:
        return ""
    largest, mean_squares = 0, []
    for one, other in pairs:
        with Image.open(one) as left, Image.open(other) as right:
            if left.size != right.size:
                return "another size"
            histogram = ImageChops.difference(left.convert("RGB"), right.convert("RGB")).histogram()
        counts = [sum(histogram[level::256]) for level in range(256)]
        largest = max(largest, max(level for level in range(256) if counts[level]))
        mean_squares.append(sum(level * level * count for level, count in enumerate(counts)) / sum(counts))
    if not largest:
        return "the same"
    if largest == 1:
        return "within 1 gray level"
    psnr = statistics.mean(10 * math.log10(255**2 / square) if square else 99 for square in mean_squares)
    return f"{psnr:.1f} dB"


def _image_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))
