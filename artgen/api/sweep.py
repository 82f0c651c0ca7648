"""Build the jobs of a sweep, and write the contact sheets and the table of the results."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.images import contact_sheet
from artgen.images.contact_sheet import Cell, ContactSheet
from artgen.outputs import write_sheets
from artgen.queue import sweeps
from artgen.queue.batch_entries import batch_folder
from artgen.queue.entries import Entry
from artgen.queue.fingerprints import significant_values
from artgen.queue.ledger import Ledger
from artgen.queue.plan import BatchPlan
from artgen.queue.sweeps import SweepAxis, combinations
from artgen.queue.variation_values import line_seed
from artgen.spec.seeds import expand_seeds, hash_seed
from artgen.spec.settings import FramesSettings, OutputSettings, SeriesSettings, options_of
from artgen.system.files import write_atomically

CELL_PX = 256
MAX_COLUMNS_PER_PAGE = MAX_ROWS_PER_PAGE = 10


@dataclass(frozen=True)
class Sweep:
    """Store the jobs of a sweep.

    Attributes:
        axes: swept settings and their values.
        entries: one entry per combination.
        folder: receives the images, the sheets and the table.
        defaults: settings of all combinations.
    """

    axes: Sequence[SweepAxis]
    entries: Sequence[Entry]
    folder: Path
    defaults: Mapping[str, Any]


def plan_sweep(
    image_paths: Sequence[Path], values: Mapping[str, Any], swept: Sequence[str], output: OutputSettings
) -> Sweep:
    """Return the jobs for all combinations of the swept values.

    Args:
        image_paths: empty, or the input image.
        values: settings of all combinations, with `seed` and `count`.
        swept: settings and values, such as `steps=10,20`; see `parse_axes`.
        output: destination of the images.

    Raises:
        UsageError: there are several input images, or the sweep is invalid.
    """
    if len(image_paths) > 1 or any(map(os.path.isdir, image_paths)):
        raise UsageError("Cannot run a sweep with several input images.", "Run the command once for each image.")
    axes = sweeps.parse_axes(swept)
    shared = {**values, "image": image_paths[0]} if image_paths else dict(values)
    chosen: dict[str, dict[str, Any]] = {}
    if shared.pop("combinatorial", False):
        axes, chosen = _combine_prompts(axes, shared)
    axis_names = {axis.name for axis in axes}
    is_varied = bool(shared.get("variation_strength")) or "variation_strength" in axis_names
    if is_varied and "variation_seed" not in axis_names:
        _add_variation_seeds(axes, shared)
    if "seed" not in axis_names:
        first_seed = shared.pop("seed", None) or sweep_seed(shared)
        series = SeriesSettings(seed=first_seed, count=shared.pop("count", 1))
        seeds = expand_seeds(series, num_candidates=_max_candidates(axes, shared))
        if len(seeds) > 1:
            axes.insert(0, SweepAxis("seed", tuple(map(str, seeds))))
            sweeps.check_combinations(axes)
        else:
            shared["seed"] = str(seeds[0])
    folder, output_settings = batch_folder(output, f"sweep-{'-'.join(axis.name for axis in axes)}")
    defaults = {name: value for name, value in shared.items() if name not in axis_names} | output_settings
    entries = [
        replace(
            entry, setting_values={**entry.setting_values, **chosen.get(entry.setting_values.get("prompt", ""), {})}
        )
        for entry in sweeps.sweep_entries(axes, {})
    ]
    return Sweep(axes, entries, folder, defaults)


def _add_variation_seeds(axes: list[SweepAxis], shared: dict[str, Any]) -> None:
    """Set the variation seed of all combinations. With `count`, the variation seed is an axis."""
    rest = {name: value for name, value in shared.items() if name != "variation_strength"}
    first = shared.get("variation_seed")
    first = line_seed(rest, "variation") if first in (None, -1) else first
    series = SeriesSettings(seed=str(first), count=shared.pop("count", 1))
    seeds = expand_seeds(series, num_candidates=_max_candidates(axes, shared))
    if len(seeds) > 1:
        axes.insert(0, SweepAxis("variation_seed", tuple(map(str, seeds))))
        sweeps.check_combinations(axes)
    else:
        shared["variation_seed"] = seeds[0]


def _max_candidates(axes: Sequence[SweepAxis], shared: Mapping[str, Any]) -> int | None:
    """Return the largest `best_of` of the combinations; None without `best_of`."""
    values = next((axis.values for axis in axes if axis.name == "best_of"), (shared.get("best_of"),))
    return max((int(text) for text in map(str, values) if text.isdigit()), default=None)


def _combine_prompts(
    axes: Sequence[SweepAxis], shared: Mapping[str, Any]
) -> tuple[list[SweepAxis], dict[str, dict[str, Any]]]:
    """Return the axes with an axis of the prompts of all combinations, and the settings of each of its values.

    Raises:
        UsageError: another part of the prompts is swept, or there are too many combinations.
    """
    from artgen.jobs.prompt_expansion import PromptSources, TypedPrompts, combine_prompts

    by_name = {axis.name: axis for axis in axes}
    for name in ("negative_prompt", "style"):
        if name in by_name:
            raise UsageError(f"Cannot sweep {name} with --combinatorial.", "Write the values as a variant: {a|b}")
    typed = TypedPrompts(
        **{name: shared[name] for name in ("prompt", "negative_prompt", "style", "prompt_weights") if name in shared}
    )
    sources = PromptSources()
    values: dict[str, dict[str, Any]] = {}
    for prompt in by_name["prompt"].values if "prompt" in by_name else (typed.prompt,):
        for each in combine_prompts(replace(typed, prompt=prompt), sources):
            label = each.prompt if each.prompt not in values else f"{each.prompt} | {each.negative_prompt}"
            values[label] = {"prompt": prompt, "chosen_prompts": (each,)}
        sweeps.check_combinations([SweepAxis("prompt", tuple(values))])
    axis = SweepAxis("prompt", tuple(values))
    if "prompt" in by_name:
        combined = [axis if each.name == "prompt" else each for each in axes]
    else:
        combined = [axis, *axes] if len(values) > 1 else list(axes)
    sweeps.check_combinations(combined)
    return combined, values if axis in combined else {}


def write_sheet_and_csv(
    axes: Sequence[SweepAxis], plan: BatchPlan, ledger: Ledger, on_written: Callable[[Path], object]
) -> Path:
    """Write `sheet.png` (further pages: `sheet-2.png` ...) and `sweep.csv`. Return the path of the first sheet.

    Args:
        axes: swept settings.
        plan: jobs of the sweep.
        ledger: results of the jobs.
        on_written: receives the path of each sheet.

    Raises:
        OutputError: a file cannot be written.
    """
    ledger.refresh()
    files: list[Path | None] = []
    errors: list[str] = []
    messages = {line.source: line.error.message for line in plan.line_errors}
    jobs = {job.source: job for job in plan.jobs}
    for label in (sweeps.combination_label(axes, values) for values in combinations(axes)):
        key = jobs[label].fingerprint if label in jobs else ""
        record, failure = ledger.completed(key), ledger.records.get(key)
        files.append(ledger.folder / record.file if record else None)
        errors.append("" if record else messages.get(label, failure.error if failure else ""))
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(["file", *(axis.name for axis in axes), "error"])
    for file, error, values in zip(files, errors, combinations(axes), strict=True):
        table.writerow([file.relative_to(ledger.folder).as_posix() if file else "", *values, error])
    write_atomically(ledger.folder / "sweep.csv", buffer.getvalue())
    has_title = plan.jobs and all(axis.name != "prompt" for axis in axes)
    title = getattr(plan.jobs[0].request, "prompt", "") if has_title else ""
    pages = _layout_pages(axes, [Cell(file) for file in files], title)
    sheets = write_sheets(pages, ledger.folder / "sheet.png", cell_px=CELL_PX, overwrite=True, on_written=on_written)
    return sheets[0]


def _layout_pages(axes: Sequence[SweepAxis], cells: list[Cell], title: str) -> list[ContactSheet]:
    """Return pages whose columns are the last axis and whose rows are the axis before it.

    Each combination of the other axes has its own pages. Long axes continue on further pages.
    """
    if len(axes) == 1:
        labeled = [
            Cell(cell.path, f"{axes[0].name} {value}") for cell, value in zip(cells, axes[0].values, strict=True)
        ]
        columns = min(MAX_COLUMNS_PER_PAGE, len(labeled))
        return contact_sheet.paginate(labeled, columns=columns, rows=MAX_ROWS_PER_PAGE, title=title)
    row_axis, column_axis = axes[-2:]
    grid_size = len(row_axis.values) * len(column_axis.values)
    pages: list[ContactSheet] = []
    for i, values in enumerate(combinations(axes[:-2])):
        label = ", ".join(f"{axis.name} {value}" for axis, value in zip(axes, values, strict=False))
        page_title = "\n".join(text for text in (title, label) if text)
        pages += _grid_pages(row_axis, column_axis, cells[i * grid_size : (i + 1) * grid_size], page_title)
    return pages


def _grid_pages(row_axis: SweepAxis, column_axis: SweepAxis, cells: Sequence[Cell], title: str) -> list[ContactSheet]:
    """Return the pages of one grid; `cells` are in row-major order."""
    num_columns = len(column_axis.values)
    pages = []
    for top in range(0, len(row_axis.values), MAX_ROWS_PER_PAGE):
        for left in range(0, num_columns, MAX_COLUMNS_PER_PAGE):
            row_values = row_axis.values[top : top + MAX_ROWS_PER_PAGE]
            column_values = column_axis.values[left : left + MAX_COLUMNS_PER_PAGE]
            rows = [
                [cells[row * num_columns + column] for column in range(left, left + len(column_values))]
                for row in range(top, top + len(row_values))
            ]
            column_labels = [f"{column_axis.name} {value}" for value in column_values]
            row_labels = [f"{row_axis.name} {value}" for value in row_values]
            pages.append(ContactSheet(rows, title, column_labels, row_labels))
    return pages


def sweep_seed(values: Mapping[str, Any]) -> str:
    """Return the seed of a sweep that does not set one: equal for all combinations, and equal in each run.

    Combinations are compared, so they need the same noise.
    """
    ignored = {*options_of(FramesSettings), "preset"}
    shared = {name: value for name, value in values.items() if name not in ignored}
    text = repr(sorted((name, str(value)) for name, value in significant_values(shared).items()))
    return str(hash_seed(text.encode("utf-8", "surrogateescape")))
