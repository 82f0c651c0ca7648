"""Sweeps from the command line: a batch with an entry for each combination, and sheets that show them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen import sheets
from artgen.batch import sweeps
from artgen.batch.ledger import Ledger
from artgen.batch.plan import Plan
from artgen.batch.sweeps import Axis, combinations
from artgen.cli.batching import draw_entries, place_of
from artgen.cli.sheet import write_sheets
from artgen.errors import UsageError
from artgen.outputs import write_over
from artgen.seeds import derived_seed, seeds
from artgen.settings import Frames, Output, Report, Run, Series, Sweep, settings_of
from artgen.sheets import Cell, Sheet

CELL = 256
COLUMNS = ROWS = 10


def draw_sweep(
    pictures: Sequence[Path], values: dict[str, Any], series: Series, sweep: Sweep, output: Output, report: Report
) -> None:
    """Draws every combination of the values to try, and the sheets that show them.

    Args:
        pictures: none, or the one to start from.
        values: settings that hold for all combinations.
        series: how many, and their seeds.
        sweep: settings to try out.
        output: where to.
        report: what is printed.

    Raises:
        UsageError: several pictures, or a sweep that cannot be read.
    """
    if len(pictures) > 1 or any(path.is_dir() for path in pictures):
        raise UsageError("A sweep starts from one picture.", "Run it once for each.")
    axes = sweeps.parse_axes(sweep.sweep)
    if pictures:
        values["image"] = pictures[0]
    swept = {axis.name for axis in axes}
    if "seed" not in swept:
        first = values.pop("seed", None) or same_seed(values)
        listed = seeds(Series(seed=first, count=values.pop("count", 1)))
        if len(listed) > 1:
            axes.insert(0, Axis("seed", tuple(map(str, listed))))
        else:
            values["seed"] = str(listed[0])
    folder, named = place_of(output, f"sweep-{'-'.join(axis.name for axis in axes)}")
    draw_entries(
        sweeps.entries(axes, {}),
        folder,
        {name: value for name, value in values.items() if name not in swept} | named,
        Run(),
        report,
        batch_size=series.batch_size,
        afterwards=lambda plan, ledger: write_overview(axes, plan, ledger),
    )


def write_overview(axes: Sequence[Axis], plan: Plan, ledger: Ledger) -> None:
    """Writes `sheet.png` (and further pages) and `sweep.csv` into the sweep's folder.

    Raises:
        OutputError: they cannot be written.
    """
    ledger.refresh()
    files: list[Path | None] = []
    for job in plan.jobs:
        record = ledger.done(job.key)
        files.append(ledger.folder / record.file if record else None)
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(["file", *(axis.name for axis in axes), "error"])
    for job, file, values in zip(plan.jobs, files, combinations(axes), strict=True):
        failure = ledger.failed(job.key)
        name = file.relative_to(ledger.folder).as_posix() if file else ""
        table.writerow([name, *values, failure.error if failure else ""])
    write_over(ledger.folder / "sweep.csv", buffer.getvalue().encode())
    title = getattr(plan.jobs[0].request, "prompt", "") if all(axis.name != "prompt" for axis in axes) else ""
    pages = _pages(axes, [Cell(file) for file in files], title)
    write_sheets(pages, ledger.folder / "sheet.png", cell=CELL, overwrite=True)


def _pages(axes: Sequence[Axis], cells: list[Cell], title: str) -> list[Sheet]:
    """The last axis runs to the right, the one before it downwards, all others over pages, as do long axes."""
    across = axes[-1]
    down = axes[-2] if len(axes) > 1 else None
    if down is None:
        labelled = [Cell(c.path, f"{across.name} {v}") for c, v in zip(cells, across.values, strict=True)]
        return sheets.pages(labelled, columns=min(COLUMNS, len(labelled)), rows=ROWS, title=title)
    size = len(across.values) * len(down.values)
    found = []
    for number, values in enumerate(combinations(axes[:-2])):
        here = cells[number * size : (number + 1) * size]
        said = [title, ", ".join(f"{axis.name} {value}" for axis, value in zip(axes, values, strict=False))]
        for top in range(0, len(down.values), ROWS):
            for left in range(0, len(across.values), COLUMNS):
                columns, sides = across.values[left : left + COLUMNS], down.values[top : top + ROWS]
                rows = [
                    [here[row * len(across.values) + column] for column in range(left, left + len(columns))]
                    for row in range(top, top + len(sides))
                ]
                found.append(
                    Sheet(
                        rows,
                        "\n".join(text for text in said if text),
                        [f"{across.name} {value}" for value in columns],
                        [f"{down.name} {value}" for value in sides],
                    )
                )
    return found


def same_seed(values: Mapping[str, Any]) -> str:
    """A seed for all combinations of a sweep that names none: the same each time it is run.

    Only the noise may be alike in what is to be compared, and a sweep run again is the same sweep.
    """
    text = repr(sorted((name, str(value)) for name, value in values.items() if name not in settings_of(Frames)))
    return str(derived_seed(text.encode("utf-8", "surrogateescape")))
