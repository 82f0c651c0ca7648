"""A picture and the JSON file beside it: no crash leaves a picture beside the record of another."""

import contextlib
import os
from pathlib import Path

from artgen.errors import RefusedError
from artgen.metadata import has_sidecar, sidecar_path
from artgen.outputs.writing import flush_folder, set_aside, staged, write_new


def claim(path: Path, data: bytes, sidecar: str | None) -> bool:
    """Takes a free name for the picture, and for its JSON file if it has one; False when either is taken.

    A name where artgen's JSON file of another picture lies is taken, whether there is one to write or not.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    beside = sidecar_path(path)
    if sidecar is None:
        return not has_sidecar(path) and write_new(path, data)
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
    """Writes the picture, and its JSON file if it has one, over what is there; artgen's older JSON file goes.

    The older one goes first and the newer one comes last: in between the picture, be it the older or the newer, says no
    more than what it holds itself.

    Raises:
        RefusedError: a symbolic link is there.
        OSError: it cannot be written; what was there is still there, if only the JSON file failed, the newer picture.
    """
    beside = sidecar_path(path)
    refuse_link(path)
    if sidecar is not None:
        refuse_link(beside)
    with contextlib.ExitStack() as stack:
        picture = stack.enter_context(staged(path.parent, data))
        record = None if sidecar is None else stack.enter_context(staged(path.parent, sidecar.encode("utf-8")))
        with set_aside(beside) if has_sidecar(path) else contextlib.nullcontext():
            picture.replace(path)
        flush_folder(path.parent)
        if record is not None:
            record.replace(beside)
            flush_folder(path.parent)


def refuse_link(path: Path) -> None:
    """Symbolic links are not written through.

    Raises:
        RefusedError: it is one.
    """
    if path.is_symlink():
        raise RefusedError(f"'{path}' is a symbolic link and is not written through", "Name the file itself.")
