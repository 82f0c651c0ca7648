"""Convert image folders to entries: one job per image, with the same file names and subfolders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.dataset.captions import MAX_CAPTION_BYTES
from artgen.errors import InputFileError
from artgen.images import IMAGE_SUFFIXES, iter_images
from artgen.outputs import FORMAT_SUFFIXES
from artgen.queue.entries import Entry
from artgen.system.external_data import decode_text, read_limited

CAPTION_SUFFIX = ".txt"


def read_image_folders(
    paths: Sequence[Path],
    *,
    mask_folder: Path | None = None,
    format: str = "png",  # noqa: A002 - the option's name
    several_seeds: bool = False,
    use_captions: bool = True,
) -> list[Entry]:
    """Return one entry per image, sorted by path. A text file with the same stem contains the prompt.

    Args:
        paths: image files, and folders that are searched recursively.
        mask_folder: folder with one mask per image, with the same subfolder and stem, in any image format.
        format: format of the results: png, jpeg, jpg or webp.
        several_seeds: add the seed to the file names of the results, because each image has several seeds.
        use_captions: read prompts from text files.

    Raises:
        InputFileError: a file does not exist, a folder contains no image, an image has no mask, or two images match one
            mask.
    """
    suffix = FORMAT_SUFFIXES["jpeg" if format == "jpg" else format]
    entries = []
    image_of_mask: dict[Path, Path] = {}
    for path, root in iter_images(paths):
        relative_path = path.relative_to(root)
        name = str(relative_path.with_suffix("")).replace("{", "{{").replace("}", "}}").replace(os.sep, "/")
        values: dict[str, Any] = {"image": path, "output": f"{name}{'-{seed}' if several_seeds else ''}{suffix}"}
        caption = path.with_suffix(CAPTION_SUFFIX)
        if use_captions and caption.is_file():
            values["prompt"] = _read_caption(caption)
        if mask_folder is not None:
            mask = values["mask"] = _find_mask(mask_folder, relative_path)
            if (other := image_of_mask.setdefault(mask, path)) != path:
                raise InputFileError(
                    f"'{other}' and '{path}' match the same mask '{mask}'.",
                    "Give each mask the exact file name of its image, or run the command once for each image.",
                )
        entries.append(Entry(str(path), 0, values))
    return entries


def _read_caption(path: Path) -> str:
    try:
        return decode_text(read_limited(path, MAX_CAPTION_BYTES)).strip()
    except ValueError as error:
        raise InputFileError(f"Cannot read the prompt '{path}': {error}.", "Save it as UTF-8 text.") from error


def _find_mask(mask_folder: Path, image_path: Path) -> Path:
    exact = mask_folder / image_path
    if exact.is_file():
        return exact
    candidates = [
        path
        for path in (exact.parent.iterdir() if exact.parent.is_dir() else ())
        if path.stem == image_path.stem and path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if len(candidates) == 1:
        return candidates[0]
    reason = "several files match" if candidates else "the file does not exist"
    raise InputFileError(
        f"Cannot find the mask of '{image_path}' in '{mask_folder}': {reason}.",
        f"Save the mask as '{image_path}' in this folder, with any image suffix.",
    )
