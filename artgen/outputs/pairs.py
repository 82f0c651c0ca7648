"""A picture and the JSON file beside it: both written, or none."""

import os
from pathlib import Path

from artgen.errors import RefusedError
from artgen.metadata import sidecar_path
from artgen.outputs.writing import write_new, write_over


def claim(path: Path, data: bytes, sidecar: str | None) -> bool:
    """Takes a free name for the picture, and for its JSON file if it has one; False when either is taken.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    beside = sidecar_path(path)
    if sidecar is None:
        return write_new(path, data)
    if os.path.lexists(path) or not write_new(beside, sidecar.encode("utf-8")):
        return False
    try:
        if write_new(path, data):
            return True
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.unlink(missing_ok=True)
    return False


def replace(path: Path, data: bytes, sidecar: str | None) -> None:
    """Writes the picture, and its JSON file if it has one, over what is there.

    Raises:
        RefusedError: a symbolic link is there.
        OSError: it cannot be written.
    """
    refuse_link(path)
    write_over(path, data)
    if sidecar is not None:
        refuse_link(sidecar_path(path))
        write_over(sidecar_path(path), sidecar.encode("utf-8"))


def refuse_link(path: Path) -> None:
    """Symbolic links are not written through.

    Raises:
        RefusedError: it is one.
    """
    if path.is_symlink():
        raise RefusedError(f"'{path}' is a symbolic link and is not written through", "Name the file itself.")
