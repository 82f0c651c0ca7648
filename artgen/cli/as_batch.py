"""A task's command that became a batch: a folder, several pictures, or a sweep."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.batch import folders
from artgen.batch.entries import Entry
from artgen.cli.batching import draw_entries, given, place_of
from artgen.cli.drawing import Delivery
from artgen.cli.sweeping import draw_sweep
from artgen.settings import Output, Run, Series, Sweep


def draw_as_batch(
    task: str,
    groups: Sequence[Any],
    pictures: Sequence[Path],
    series: Series,
    sweep: Sweep,
    delivery: Delivery,
) -> None:
    """Draws a folder, several pictures or a sweep; see `artgen.cli.drawing.draw`."""
    output, report = delivery.output, delivery.report
    values = {**given(*groups, delivery.frames, series), "task": task}
    values.pop("batch_size", None)
    values.pop("image", None)
    if sweep.sweep:
        draw_sweep(pictures, values, series, sweep, output, report)
        return
    folder, named = place_of(output, pictures[0].resolve().stem)
    entries = picture_entries(pictures, values, output)
    draw_entries(entries, folder, values | named, Run(), report, batch_size=series.batch_size)


def picture_entries(pictures: Sequence[Path], values: dict[str, Any], output: Output) -> list[Entry]:
    """An entry for each picture; takes a folder of masks out of `values`."""
    mask = values.get("mask")
    masks = values.pop("mask") if mask is not None and mask.is_dir() else None
    seeds = values.get("count", 1) > 1 or not re.fullmatch(r"-?\d*", values.get("seed") or "")
    captions = values.get("task") != "denoise"
    return folders.read(pictures, masks=masks, format=output.format or "png", seeds=seeds, captions=captions)
