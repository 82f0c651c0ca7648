"""Folders of pictures as entries: one job a picture, names and sub-folders kept."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.images import IMAGE_SUFFIXES, iter_images
from artgen.outputs import FORMAT_SUFFIXES
from artgen.queue.entries import Entry

CAPTION_SUFFIX = ".txt"


def read_image_folders(
    paths: Sequence[Path],
    *,
    mask_folder: Path | None = None,
    format: str = "png",  # noqa: A002 - the option's name
    several_seeds: bool = False,
    use_captions: bool = True,
) -> list[Entry]:
    """One entry for each picture, in order of path; a text file of the same name beside it is its prompt.

    Args:
        paths: pictures, and folders that are searched with their sub-folders.
        mask_folder: a folder with a mask for each picture, under the same name and sub-folder; any picture format.
        format: png, jpeg (jpg) or webp: of the results.
        several_seeds: whether each picture is drawn from with several seeds, which then become part of the names.
        use_captions: whether the task takes prompts.

    Raises:
        InputFileError: there is no such file, no picture in a folder, or no mask for a picture.
    """
    suffix = FORMAT_SUFFIXES["jpeg" if format == "jpg" else format]
    entries = []
    for path, root in iter_images(paths):
        within = path.relative_to(root)
        name = str(within.with_suffix("")).replace("{", "{{").replace("}", "}}").replace(os.sep, "/")
        given: dict[str, Any] = {"image": path, "output": f"{name}{'-{seed}' if several_seeds else ''}{suffix}"}
        caption = path.with_suffix(CAPTION_SUFFIX)
        if use_captions and caption.is_file():
            given["prompt"] = _read_caption(caption)
        if mask_folder is not None:
            given["mask"] = _find_mask(mask_folder, within)
        entries.append(Entry(str(path), 0, given))
    return entries


def _read_caption(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"'{path}' cannot be read as a prompt: {error}.", "Save it as UTF-8 text.") from error


def _find_mask(mask_folder: Path, image_path: Path) -> Path:
    exact = mask_folder / image_path
    if exact.is_file():
        return exact
    others = sorted(p for p in exact.parent.glob(f"{image_path.stem}.*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if len(others) == 1:
        return others[0]
    raise InputFileError(
        f"There is no mask for '{image_path}' in '{mask_folder}'.",
        f"It should be called '{image_path}', with any picture suffix.",
    )
