"""Folders of pictures as entries: one job a picture, names and sub-folders kept."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.batch.entries import Entry
from artgen.errors import InputFileError
from artgen.images import SUFFIXES, pictures_in
from artgen.outputs import FORMATS

CAPTION = ".txt"


def read(
    paths: Sequence[Path],
    *,
    masks: Path | None = None,
    format: str = "png",  # noqa: A002 - the option's name
    seeds: bool = False,
    captions: bool = True,
) -> list[Entry]:
    """One entry for each picture, in order of path; a text file of the same name beside it is its prompt.

    Args:
        paths: pictures, and folders that are searched with their sub-folders.
        masks: a folder with a mask for each picture, under the same name and sub-folder; any picture format.
        format: png, jpeg (jpg) or webp: of the results.
        seeds: whether each picture is drawn from with several seeds, which then become part of the names.
        captions: whether the task takes prompts.

    Raises:
        InputFileError: there is no such file, no picture in a folder, or no mask for a picture.
    """
    suffix = FORMATS["jpeg" if format == "jpg" else format]
    entries = []
    for path, root in pictures_in(paths):
        within = path.relative_to(root)
        name = str(within.with_suffix("")).replace("{", "{{").replace("}", "}}").replace(os.sep, "/")
        given: dict[str, Any] = {"image": path, "output": f"{name}{'-{seed}' if seeds else ''}{suffix}"}
        caption = path.with_suffix(CAPTION)
        if captions and caption.is_file():
            given["prompt"] = _prompt(caption)
        if masks is not None:
            given["mask"] = _mask(masks, within)
        entries.append(Entry(str(path), 0, given))
    return entries


def _prompt(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"'{path}' cannot be read as a prompt: {error}.", "Save it as UTF-8 text.") from error


def _mask(masks: Path, picture: Path) -> Path:
    exact = masks / picture
    if exact.is_file():
        return exact
    others = sorted(p for p in exact.parent.glob(f"{picture.stem}.*") if p.suffix.lower() in SUFFIXES)
    if len(others) == 1:
        return others[0]
    raise InputFileError(
        f"There is no mask for '{picture}' in '{masks}'.", f"It should be called '{picture}', with any picture suffix."
    )
