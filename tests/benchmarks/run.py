"""The benchmark: artgen beside plain diffusers scripts with the same weights, steps, scheduler, size and dtype.

    python tests/benchmarks/run.py [--only ROW...] [--quick] [--rounds N] [--cache FOLDER] [--profile ROW]

Every way of a row runs once a round, by turns, in a process of its own. What is measured goes to `results/run.json`
and the section `run` of `RESULTS.md`, at once after each row; rows that are not run keep what was measured before.
Rows of another machine stay beside those of this one. `--cache` is where Stable Diffusion 1.5 (4 GiB twice) and XL
(7 GiB) of full size, with random weights, are made and kept; without it their rows are skipped.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import many
import modes
import on_cuda
import pictures
import profiling
import report
import results
import startup
import targets
from measuring import Failed, Row, measure
from workshop import Workshop

from artgen.system import hardware

SECTION = "run"
INTRODUCTION = """
artgen beside a plain diffusers script (`from_pretrained`, `.to(device)`, call, `image.save`) with the same weights,
steps, scheduler, size and dtype unless the row says otherwise, by turns; medians, and the least and the most in
parentheses. `x` is how many times less than the first line it takes: the median of the rounds' own ratios. Pixels
are compared with the first line's. Memory is that of the largest process, with the files it has mapped. Load is the
number of processes that wanted a core before a row began and before it ended; the latter counts what was measured.
"""


def main() -> int:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="artgen-benchmark-") as scratch:
        workshop = Workshop(Path(scratch), given.cache, _say)
        rows = all_rows(workshop)
        wanted = given.only or ([given.profile] if given.profile else list(rows))
        if unknown := [name for name in wanted if name not in rows]:
            _say(f"there is no row {', '.join(unknown)}; there are {', '.join(rows)}")
            return 2
        failed = 0
        for name in wanted:
            why = _missing(rows[name], workshop)
            if why:
                _say(f"{name}: skipped, {why}")
                continue
            try:
                if given.profile:
                    print(profiling.profile(rows[name], Path(scratch)))
                else:
                    _run(rows[name], given)
            except Failed as error:
                _say(f"{name}: {error}")
                failed = 1
    if not given.profile:
        _write(given.page, results.read(SECTION, given.page) or {})
    return failed


def all_rows(workshop: Workshop) -> dict[str, Row]:
    """Every row by its name, in the order in which they run."""
    return {row.name: row for part in (startup, pictures, many, modes, on_cuda) for row in part.rows(workshop)}


def _arguments() -> Any:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone")
    words.add_argument("--quick", action="store_true", help="one round, nothing warmed up")
    words.add_argument("--rounds", type=int, metavar="N", help="how often each way runs, instead of the row's number")
    words.add_argument("--cache", type=Path, metavar="FOLDER", help="where models of full size are kept")
    words.add_argument("--profile", metavar="ROW", help="where the time of a row goes, instead of measuring it")
    words.add_argument("--page", type=Path, default=results.PAGE, metavar="FILE", help="the page to write")
    return words.parse_args()


def _missing(row: Row, workshop: Workshop) -> str:
    """Why a row cannot run here, empty when it can; makes the models that it needs."""
    if "cuda" in row.needs and not hardware.cuda_device_count():
        return "it needs a CUDA device"
    for name in row.needs:
        if name in ("cuda",):
            continue
        if name != "tiny" and workshop.cache is None:
            return f"it needs {name}, which --cache FOLDER makes and keeps"
        workshop.make(name)
    return ""


def _run(row: Row, given: Any) -> None:
    before = os.getloadavg()[0]
    rounds = 1 if given.quick else given.rounds or row.rounds
    measured = measure(row, rounds, _say, warm_up=not given.quick)
    result = report.Result.of(row, measured, results.today(), (before, os.getloadavg()[0]))
    known = results.read(SECTION, given.page) or {}
    known.setdefault(results.machine(_gpu()), {})[row.name] = result.numbers()
    _write(given.page, known)
    print(result.table(), end="\n\n", flush=True)


def _write(page: Path, known: dict[str, dict[str, Any]]) -> None:
    found = {where: {name: report.Result.read(row) for name, row in rows.items()} for where, rows in known.items()}
    latest = {name: row for rows in found.values() for name, row in rows.items()}
    parts = ["## `run.py`: artgen beside plain diffusers", INTRODUCTION.strip()]
    parts.append(report.targets_table(targets.lines(latest)))
    for where, rows in found.items():
        parts += [f"{where}:", *(row.table() for row in rows.values())]
    results.write(SECTION, "\n\n".join(parts), known, page)


def _gpu() -> str | None:
    if not hardware.cuda_device_count():
        return None
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
