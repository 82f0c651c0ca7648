"""Convert the settings of a command to the entries, the defaults and the folder of a batch."""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

from artgen.errors import UsageError
from artgen.images import IMAGE_SUFFIXES
from artgen.outputs import SUFFIX_FORMATS, find_stream, is_folder_name
from artgen.queue import image_folders, prompt_files
from artgen.queue.entries import Entry, LineError
from artgen.spec.fields import non_default_settings
from artgen.spec.settings import OutputSettings
from artgen.system.input_files import PROMPT_FILE_SUFFIXES, is_stdin


def batch_name(path: Path) -> str:
    """Return the name of a batch: the stem of its first file or folder, also of `.` and of a link."""
    return PurePath(os.path.realpath(path)).stem  # Path.resolve raises for a loop of links


def image_entries(
    image_paths: Sequence[Path],
    values: dict[str, Any],
    folder: Path,
    on_note: Callable[[str], None],
) -> list[Entry | LineError]:
    """Return one entry for each image; remove a folder of masks from `values`.

    Args:
        image_paths: images, and folders of images.
        values: settings of all images and of the results.
        folder: folder of the results, which is skipped.
        on_note: receives the notes for the user.

    Raises:
        InputFileError: a folder contains no images.
    """
    mask = values.get("mask")
    mask_folder = values.pop("mask") if mask is not None and mask.is_dir() else None
    several_seeds = values.get("count", 1) > 1 or not re.fullmatch(r"-?\d*", values.get("seed") or "")
    return image_folders.read_image_folders(
        image_paths,
        mask_folder=mask_folder,
        template=values.get("output"),
        format=values.get("format") or "png",
        several_seeds=several_seeds,
        use_captions=values.get("task") != "denoise",
        excluded=image_folders.excluded_paths(image_paths, folder, mask),
        on_note=on_note,
    )


def read_entries(
    files: Sequence[Path],
    ignore_columns: str | None,
    values: dict[str, Any],
    folder: Path,
    on_note: Callable[[str], None],
) -> list[Entry | LineError]:
    """Return the entries of prompt files and images; remove a folder of masks from `values`.

    Args:
        files: prompt files, images, and folders of images; `-` is stdin.
        ignore_columns: columns and keys to ignore; see `Keys.parse`.
        values: settings of all entries and of the results.
        folder: folder of the results, which is skipped.
        on_note: receives the notes for the user.

    Raises:
        InputFileError: a file cannot be read, or a folder contains no images.
        UsageError: `ignore_columns` is not a list.
    """
    entries: list[Entry | LineError] = []
    for file in files:
        is_prompt_file = file.suffix.lower() in PROMPT_FILE_SUFFIXES or is_stdin(file)
        is_other_file = os.path.isfile(file) and file.suffix.lower() not in IMAGE_SUFFIXES  # noqa: PTH113
        if is_prompt_file or is_other_file:  # the error about another suffix lists the known ones
            entries += prompt_files.read_prompt_file(file, ignore_columns)
        else:
            entries += image_entries([file], values, folder, on_note)
    return entries


def batch_folder(output: OutputSettings, batch_name: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a batch, and its output settings relative to the folder.

    Args:
        output: `--output` is a folder, or a template that begins with a folder; None selects `outputs/NAME`.
        batch_name: name of the default folder.

    Raises:
        UsageError: `--output` is one file, or `--overwrite` is set, which batches do not support.
    """
    if output.overwrite:
        raise UsageError(
            "Cannot use --overwrite: a batch does not overwrite images.",
            "Omit --overwrite, or choose another --output.",
        )
    settings = non_default_settings(dataclasses.replace(output, output=None, overwrite=False))
    if output.output is None:
        return Path("outputs", batch_name), settings
    if find_stream(output.output) is not None:
        raise UsageError(f"Cannot save a batch to '{output.output}': it is not a folder.", "-o images/")
    parts = PurePath(output.output).parts
    num_folders = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
    is_file = PurePath(output.output).suffix.lower() in SUFFIX_FORMATS and not is_folder_name(output.output)
    if num_folders == len(parts) and is_file:
        raise UsageError(f"Cannot save a batch to '{output.output}': it is one file, not a folder.", "-o images/")
    if num_folders < len(parts):
        settings["output"] = "/".join(parts[num_folders:]) + ("/" if output.output.endswith("/") else "")
    return Path(*parts[:num_folders]) if num_folders else Path(), settings
