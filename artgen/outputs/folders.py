"""Whether a folder, or the nearest one above it that is there, takes files."""

import os
from pathlib import Path

from artgen.errors import OutputError, RefusedError
from artgen.outputs.writing import check_writable, clean_stale


def check_folder(folder: Path, root: Path, option_name: str) -> None:
    """Finds out whether files can be made in a folder, or it can be made. Clears what killed processes left there.

    Args:
        folder: it may be missing, and is not made.
        root: the folder that it must not lead out of.
        option_name: what the user typed it after.

    Raises:
        OutputError: a file stands in the way, or nothing can be written there.
        RefusedError: it leads out of `root` through a symbolic link.
    """
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(
            f"'{existing}' is not a folder, so '{folder}' cannot be one", f"Choose another {option_name}."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"the folder '{existing}' may not be written to", f"Choose another {option_name}.")
    check_inside(folder, root)
    try:
        check_writable(existing)
    except OSError as error:
        raise OutputError(
            f"no file can be made in '{existing}': {error.strerror or error}", f"Choose another {option_name}."
        ) from error
    if existing == folder:
        clean_stale(folder)


def check_inside(folder: Path, root: Path) -> None:
    """Holds a folder to the one that it was made from.

    Raises:
        RefusedError: a symbolic link leads out of `root`.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"'{folder}' leads out of '{root}' through a symbolic link")
