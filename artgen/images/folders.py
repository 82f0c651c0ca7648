"""The pictures of folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from artgen.errors import InputFileError
from artgen.images.decoding import IMAGE_SUFFIXES


def iter_images(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Pictures, in order of path, and the folder that their names are told from.

    Args:
        paths: pictures, and folders that are searched with their sub-folders; what is hidden is left out.

    Raises:
        InputFileError: there is no picture in a folder.
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
                f"There is no picture in '{path}'.", f"It should hold {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        yield from ((each, path) for each in found)


def _skip_hidden_folders(folders: list[str]) -> bool:
    """Leaves hidden folders out of the walk."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return True
