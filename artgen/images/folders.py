"""List the images in folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from artgen.errors import InputFileError
from artgen.images.decoding import IMAGE_SUFFIXES


def iter_images(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each image, sorted by path, with the folder that its name is relative to.

    Args:
        paths: image files, and folders to search recursively. Hidden files and folders are skipped.

    Raises:
        InputFileError: A folder contains no images.
    """
    for path in paths:
        if not path.is_dir():
            yield path, path.parent
            continue
        found = sorted(
            Path(folder, name)
            for folder, folders, names in os.walk(path)
            for name in names
            if Path(name).suffix.lower() in IMAGE_SUFFIXES
            and not name.startswith(".")
            and _skip_hidden_folders(folders)
        )
        if not found:
            raise InputFileError(
                f"'{path}' contains no images.", f"Image files end with {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        yield from ((each, path) for each in found)


def _skip_hidden_folders(folders: list[str]) -> bool:
    """Remove hidden folders from the walk. Return True."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return True
