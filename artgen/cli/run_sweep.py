"""Sweeps from the command line: a batch with an entry for each combination, and sheets that show them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.cli.run_requests import batch_folder, run_entries
from artgen.cli.sheet import write_sheets
from artgen.errors import UsageError
from artgen.images import contact_sheet
from artgen.images.contact_sheet import Cell, ContactSheet
from artgen.outputs import atomic_replace
from artgen.queue import sweeps
from artgen.queue.ledger import Ledger
from artgen.queue.planner import BatchPlan
from artgen.queue.sweeps import SweepAxis, combinations
from artgen.spec.seeds import expand_seeds, hash_seed
from artgen.spec.settings import (
    BatchRunSettings,
    FramesSettings,
    OutputSettings,
    ReportSettings,
    SeriesSettings,
    SweepSettings,
    options_of,
)

CELL_PX = 256
MAX_COLUMNS_PER_PAGE = MAX_ROWS_PER_PAGE = 10


def run_sweep(
    image_paths: Sequence[Path],
    values: dict[str, Any],
    series: SeriesSettings,
    sweep: SweepSettings,
    output: OutputSettings,
    report: ReportSettings,
) -> None:
    """Draws every combination of the values to try, and the sheets that show them.

    Args:
        image_paths: none, or the one to start from.
        values: settings that hold for all combinations.
        series: how many, and their seeds.
        sweep: settings to try out.
        output: where to.
        report: what is printed.

    Raises:
        UsageError: several pictures, or a sweep that cannot be read.
    """
    if len(image_paths) > 1 or any(path.is_dir() for path in image_paths):
        raise UsageError("A sweep starts from one picture.", "Run it once for each.")
    axes = sweeps.parse_axes(sweep.sweep)
    if image_paths:
        values["image"] = image_paths[0]
    swept = {axis.name for axis in axes}
    if "seed" not in swept:
        first = values.pop("seed", None) or sweep_seed(values)
        listed = expand_seeds(SeriesSettings(seed=first, count=values.pop("count", 1)))
        if len(listed) > 1:
            axes.insert(0, SweepAxis("seed", tuple(map(str, listed))))
        else:
            values["seed"] = str(listed[0])
    folder, named = batch_folder(output, f"sweep-{'-'.join(axis.name for axis in axes)}")
    run_entries(
        sweeps.sweep_entries(axes, {}),
        folder,
        {name: value for name, value in values.items() if name not in swept} | named,
        BatchRunSettings(),
        report,
        batch_size=series.batch_size,
        on_finished=lambda plan, ledger: write_sheet_and_csv(axes, plan, ledger),
    )


def write_sheet_and_csv(axes: Sequence[SweepAxis], plan: BatchPlan, ledger: Ledger) -> None:
    """Writes `sheet.png` (and further pages) and `sweep.csv` into the sweep's folder.

    Raises:
        OutputError: they cannot be written.
    """
    ledger.refresh()
    files: list[Path | None] = []
    for job in plan.jobs:
        record = ledger.completed(job.fingerprint)
        files.append(ledger.folder / record.file if record else None)
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(["file", *(axis.name for axis in axes), "error"])
    for job, file, values in zip(plan.jobs, files, combinations(axes), strict=True):
        failure = ledger.failed(job.fingerprint)
        name = file.relative_to(ledger.folder).as_posix() if file else ""
        table.writerow([name, *values, failure.error if failure else ""])
    atomic_replace(ledger.folder / "sweep.csv", buffer.getvalue().encode())
    title = getattr(plan.jobs[0].request, "prompt", "") if all(axis.name != "prompt" for axis in axes) else ""
    pages = _layout_pages(axes, [Cell(file) for file in files], title)
    write_sheets(pages, ledger.folder / "sheet.png", cell_px=CELL_PX, overwrite=True)


def _layout_pages(axes: Sequence[SweepAxis], cells: list[Cell], title: str) -> list[ContactSheet]:
    """The last axis runs to the right, the one before it downwards, all others over pages, as do long axes."""
    across = axes[-1]
    down = axes[-2] if len(axes) > 1 else None
    if down is None:
        labelled = [Cell(c.path, f"{across.name} {v}") for c, v in zip(cells, across.values, strict=True)]
        return contact_sheet.paginate(
            labelled, columns=min(MAX_COLUMNS_PER_PAGE, len(labelled)), rows=MAX_ROWS_PER_PAGE, title=title
        )
    size = len(across.values) * len(down.values)
    found = []
    for number, values in enumerate(combinations(axes[:-2])):
        here = cells[number * size : (number + 1) * size]
        said = [title, ", ".join(f"{axis.name} {value}" for axis, value in zip(axes, values, strict=False))]
        for top in range(0, len(down.values), MAX_ROWS_PER_PAGE):
            for left in range(0, len(across.values), MAX_COLUMNS_PER_PAGE):
                columns, sides = (
                    across.values[left : left + MAX_COLUMNS_PER_PAGE],
                    down.values[top : top + MAX_ROWS_PER_PAGE],
                )
                rows = [
                    [here[row * len(across.values) + column] for column in range(left, left + len(columns))]
                    for row in range(top, top + len(sides))
                ]
                found.append(
                    ContactSheet(
                        rows,
                        "\n".join(text for text in said if text),
                        [f"{across.name} {value}" for value in columns],
                        [f"{down.name} {value}" for value in sides],
                    )
                )
    return found


def sweep_seed(values: Mapping[str, Any]) -> str:
    """A seed for all combinations of a sweep that names none: the same each time it is run.

    Only the noise may be alike in what is to be compared, and a sweep run again is the same sweep.
    """
    text = repr(sorted((name, str(value)) for name, value in values.items() if name not in options_of(FramesSettings)))
    return str(hash_seed(text.encode("utf-8", "surrogateescape")))
