"""Ways of doing one thing, run by turns: wall and processor seconds, and the most memory, of each."""

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
"""Way -> column -> one value a round."""

OUT = "{out}"
"""In a command: a folder of this run's own, empty at first; pictures in it are compared."""

MARK = "told: "
"""How a program begins the line of stdout on which it tells, as JSON, what it measured itself."""


@dataclass(frozen=True)
class Way:
    """A way of doing what a row is about.

    Attributes:
        name: what it is called in the table.
        command: a program and its words, `OUT` for its folder.
        exit: the exit code that is right.
        scale: by how much its times are multiplied, where it does a part of what the others do.
    """

    name: str
    command: tuple[str, ...]
    exit: int = 0
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """One comparison. The first way is what the others are compared with.

    Attributes:
        name: what `--only` takes.
        title: what is done, with size, steps and dtype.
        ways: each in a process of its own; a single one may do several ways by turns itself, and tell of them.
        columns: which numbers the table shows: `wall`, `cpu` (seconds), `peak` (MiB) or what programs tell.
        rounds: how often each way runs.
        needs: models that have to be made first, by their names in `workshop`, and `cuda`.
        note: what the reader should know.
    """

    name: str
    title: str
    ways: tuple[Way, ...]
    columns: tuple[str, ...] = ("wall", "cpu", "peak")
    rounds: int = 5
    needs: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Measured:
    """What a row gave: samples, and for each way how its pictures differ from the first way's."""

    samples: Samples
    pixels: dict[str, str] = field(default_factory=dict)


class Failed(Exception):
    """A program ended otherwise than it should."""


def measure(row: Row, rounds: int, say: Callable[[str], None], warm_up: bool = True) -> Measured:
    """Runs every way of a row once a round, by turns, so that whatever else the machine does disturbs all alike.

    Raises:
        Failed: a program ended otherwise than it should.
    """
    found = Measured({})
    with tempfile.TemporaryDirectory(prefix="artgen-benchmark-") as scratch:
        for number in range(0 if warm_up else 1, rounds + 1):
            for way in row.ways:
                folder = Path(scratch, way.name.replace("/", "-"))
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                told = run(way, folder)
                if number:  # what came before was for the caches of files and of bytecode
                    _keep(found.samples, way, told)
                    say(f"{row.name}: {way.name}, round {number} of {rounds}")
        first = Path(scratch, row.ways[0].name.replace("/", "-"))
        for way in row.ways[1:]:
            said = _difference(first, Path(scratch, way.name.replace("/", "-")))
            if said:
                found.pixels[way.name] = said
    return found


def run(way: Way, folder: Path) -> dict[str, object]:
    """Runs a program; seconds of wall and of processor time (its children's too), MiB at most, and what it tells.

    The memory is that of the largest of its processes, files it has mapped among it.
    """
    command = [word.replace(OUT, str(folder)) for word in way.command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for already
        out.seek(0)
        err.seek(0)
        if process.returncode != way.exit:
            last = err.read().decode(errors="replace")[-2000:]
            raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{last}")
        lines = [line for line in out.read().decode(errors="replace").splitlines() if line.startswith(MARK)]
    told = json.loads(lines[-1][len(MARK) :]) if lines else {}
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024, **told}


def _keep(samples: Samples, way: Way, told: dict[str, object]) -> None:
    """Adds a run to the samples; a program that did several ways tells lists of each under `ways`."""
    several = told.get("ways")
    if isinstance(several, dict):
        for name, columns in several.items():
            for column, values in columns.items():
                samples.setdefault(name, {}).setdefault(column, []).extend(values)
        return
    for column, value in told.items():
        if isinstance(value, int | float):
            factor = way.scale if column in ("wall", "cpu") else 1.0
            samples.setdefault(way.name, {}).setdefault(column, []).append(value * factor)


def ratio(samples: Samples, way: str, over: str, column: str) -> float:
    """How many times as much `over` takes as `way`: the median of the rounds' ratios."""
    pairs = zip(samples[over][column], samples[way][column], strict=False)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _difference(first: Path, second: Path) -> str:
    """How the pictures in two folders differ, in their order; empty when there is nothing to compare."""
    pairs = list(zip(_pictures(first), _pictures(second), strict=False))
    if not pairs:
        return ""
    worst, squares = 0, []
    for one, other in pairs:
        with Image.open(one) as left, Image.open(other) as right:
            if left.size != right.size:
                return "another size"
            apart = ImageChops.difference(left.convert("RGB"), right.convert("RGB")).histogram()
        levels = [sum(apart[level::256]) for level in range(256)]
        worst = max(worst, max(level for level in range(256) if levels[level]))
        squares.append(sum(level * level * count for level, count in enumerate(levels)) / sum(levels))
    if not worst:
        return "the same"
    if worst == 1:
        return "within 1 grey level"
    psnr = statistics.mean(10 * math.log10(255**2 / square) if square else 99 for square in squares)
    return f"{psnr:.1f} dB"


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))
