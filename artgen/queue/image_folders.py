"""Convert image folders to entries: one job per image, with the same file names and subfolders."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen.dataset.captions import MAX_CAPTION_BYTES
from artgen.errors import InputFileError
from artgen.images import IMAGE_SUFFIXES, iter_images
from artgen.images.folders import MASK, OUTPUT, OWN_RESULT
from artgen.outputs import FORMAT_SUFFIXES
from artgen.queue.a1111_text import caption_prompts
from artgen.queue.entries import Entry, LineError
from artgen.queue.ledger import Ledger
from artgen.system.external_data import decode_text, read_limited

CAPTION_SUFFIX = ".txt"


def read_image_folders(
    paths: Sequence[Path],
    *,
    mask_folder: Path | None = None,
    template: str | None = None,
    format: str = "png",  # noqa: A002 - the option's name
    several_seeds: bool = False,
    use_captions: bool = True,
    excluded: Mapping[Path, str] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Entry | LineError]:
    """Return one entry per image, sorted by path. A text file with the same stem contains the prompt, or a parameters
    text of AUTOMATIC1111.

    An image without a mask of its own, or whose prompt cannot be read, gives an error instead of an entry.

    Args:
        paths: image files, and folders that are searched recursively.
        mask_folder: folder with one mask per image, with the same subfolder and stem, in any image format.
        template: file names of the results, in the subfolder of each image; None uses the name of the image. If it
            ends with `/`, the names of the images follow.
        format: format of the results: png, jpeg, jpg or webp.
        several_seeds: add the seed to the file names of the results, because each image has several seeds.
        use_captions: read prompts from text files.
        excluded: files and folders to skip, see `artgen.images.iter_images`.
        on_note: receives the notes for the user.

    Raises:
        InputFileError: a folder contains no image.
    """
    suffix = FORMAT_SUFFIXES["jpeg" if format == "jpg" else format]
    entries: list[Entry | LineError] = []
    images_by_mask: dict[Path, list[Path]] = defaultdict(list)
    for path, root in iter_images(paths, excluded=excluded, on_note=on_note):
        relative_path = path.relative_to(root)
        values: dict[str, Any] = {"image": path}
        notes: list[str] = []
        if template is None or template.endswith("/"):
            name = f"{_escape(relative_path.with_suffix(''))}{'-{seed}' if several_seeds else ''}{suffix}"
            values["output"] = (template or "") + name
        else:
            values["output"] = f"{_escape(relative_path.parent)}/{template}".removeprefix("./")
        try:
            if use_captions and (caption := path.with_suffix(CAPTION_SUFFIX)).is_file():
                values |= caption_prompts(_read_caption(caption), notes.append)
            if mask_folder is not None:
                values["mask"] = _find_mask(mask_folder, relative_path)
                images_by_mask[values["mask"]].append(path)
        except InputFileError as error:
            entries.append(LineError(str(path), 0, error))
        else:
            entries.append(Entry(str(path), 0, values, notes=tuple(notes)))
    return [_reject_shared_mask(entry, images_by_mask) for entry in entries]


def excluded_paths(image_paths: Sequence[Path], output_folder: Path, mask: Path | None) -> dict[Path, str]:
    """Return the files and folders that a run over folders must skip, with the reasons.

    Args:
        image_paths: input images and folders.
        output_folder: folder of the results. If an input folder is this folder or lies in it, the results of earlier
            runs of the batch are skipped.
        mask: mask, or folder of masks.

    Raises:
        InputFileError: the ledger in the output folder cannot be read.
    """
    excluded = {output_folder: OUTPUT}
    if mask is not None:
        excluded[mask] = MASK
    if os.path.isdir(output_folder) and any(  # noqa: PTH112 - Path.is_dir raises for long names
        _is_inside(path, output_folder) for path in image_paths
    ):
        ledger = Ledger(output_folder)
        ledger.refresh()
        excluded |= dict.fromkeys(ledger.completed_files(), OWN_RESULT)
    return excluded


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or lies in it, under any name of the folder."""
    resolved = Path(os.path.realpath(path))  # Path.resolve raises for a loop of links
    return any(parent.exists() and parent.samefile(folder) for parent in (resolved, *resolved.parents))


def _reject_shared_mask(entry: Entry | LineError, images_by_mask: Mapping[Path, Sequence[Path]]) -> Entry | LineError:
    """Return an error instead of an entry whose mask matches several images."""
    mask = None if isinstance(entry, LineError) else entry.setting_values.get("mask")
    images = () if mask is None else sorted(set(images_by_mask[mask]))
    if len(images) < 2:
        return entry
    error = InputFileError(
        f"{' and '.join(map(repr, map(str, images)))} match the same mask '{mask}'.",
        "Give each mask the exact file name of its image, or run the command once for each image.",
    )
    return LineError(entry.source, entry.line, error)


def _escape(path: Path) -> str:
    """Return a path as a template without fields."""
    return str(path).replace("{", "{{").replace("}", "}}").replace(os.sep, "/")


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
        if path.stem == image_path.stem and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]
    if len(candidates) == 1:
        return candidates[0]
    reason = "several files match" if candidates else "the file does not exist"
    raise InputFileError(
        f"Cannot find the mask of '{image_path}' in '{mask_folder}': {reason}.",
        f"Save the mask as '{image_path}' in this folder, with any image suffix.",
    )
