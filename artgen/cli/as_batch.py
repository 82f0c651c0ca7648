"""A task's command that became a batch: a folder, several pictures, or a sweep."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.batch import folders
from artgen.batch.entries import Entry
from artgen.cli.batching import batch_folder, non_default_settings, run_entries
from artgen.cli.drawing import OutputOptions
from artgen.cli.sweeping import run_sweep
from artgen.settings import BatchRunSettings, OutputSettings, SeriesSettings, SweepSettings


def dispatch_batch(
    task: str,
    groups: Sequence[Any],
    image_paths: Sequence[Path],
    series: SeriesSettings,
    sweep: SweepSettings,
    output_options: OutputOptions,
) -> None:
    """Draws a folder, several pictures or a sweep; see `artgen.cli.drawing.draw`."""
    output, report = output_options.output, output_options.report
    values = {**non_default_settings(*groups, output_options.frames, series), "task": task}
    values.pop("batch_size", None)
    values.pop("image", None)
    if sweep.sweep:
        run_sweep(image_paths, values, series, sweep, output, report)
        return
    folder, named = batch_folder(output, image_paths[0].resolve().stem)
    entries = image_entries(image_paths, values, output)
    run_entries(entries, folder, values | named, BatchRunSettings(), report, batch_size=series.batch_size)


def image_entries(image_paths: Sequence[Path], values: dict[str, Any], output: OutputSettings) -> list[Entry]:
    """An entry for each picture; takes a folder of masks out of `values`."""
    mask = values.get("mask")
    masks = values.pop("mask") if mask is not None and mask.is_dir() else None
    seeds = values.get("count", 1) > 1 or not re.fullmatch(r"-?\d*", values.get("seed") or "")
    captions = values.get("task") != "denoise"
    return folders.read_image_folders(
        image_paths, mask_folder=masks, format=output.format or "png", several_seeds=seeds, use_captions=captions
    )
