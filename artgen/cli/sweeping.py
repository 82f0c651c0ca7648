"""Sweeps from the command line: a batch with an entry for each combination, and sheets that show them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.batch.sweeps import Axis, combinations
from artgen.cli.sheet import write_sheets
from artgen.outputs import write_over
from artgen.seeds import derived_seed

if TYPE_CHECKING:
    from artgen.batch.ledger import Ledger
    from artgen.batch.plan import Plan
    from artgen.sheets import Cell, Sheet

CELL = 256
COLUMNS = ROWS = 10


def write_overview(axes: Sequence[Axis], plan: "Plan", ledger: "Ledger") -> None:
    """Writes `sheet.png` (and further pages) and `sweep.csv` into the sweep's folder.

    Raises:
        OutputError: they cannot be written.
    """
    from artgen.sheets import Cell

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


def _pages(axes: Sequence[Axis], cells: "list[Cell]", title: str) -> "list[Sheet]":
    """The last axis runs to the right, the one before it downwards, all others over pages, as do long axes."""
    from artgen import sheets

    across = axes[-1]
    down = axes[-2] if len(axes) > 1 else None
    if down is None:
        labelled = [sheets.Cell(c.path, f"{across.name} {v}") for c, v in zip(cells, across.values, strict=True)]
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
                    sheets.Sheet(
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
    text = repr(sorted((name, str(value)) for name, value in values.items()))
    return str(derived_seed(text.encode("utf-8", "surrogateescape")))
