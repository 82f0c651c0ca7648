"""A picture and the JSON file beside it: no crash leaves a picture beside the record of another."""

import contextlib
import os
from pathlib import Path

from artgen.errors import RefusedError
from artgen.metadata import has_sidecar, sidecar_path
from artgen.system.files import atomic_create
from artgen.system.temporary import displace, fsync_folder, temp_file


def create_with_sidecar(path: Path, data: bytes, sidecar: str | None) -> bool:
    """Takes a free name for the picture, and for its JSON file if it has one; False when either is taken.

    A name where artgen's JSON file of another picture lies is taken, whether there is one to write or not.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    beside = sidecar_path(path)
    if sidecar is None:
        return not has_sidecar(path) and atomic_create(path, data)
    if os.path.lexists(path) or not atomic_create(beside, sidecar.encode("utf-8")):
        return False
    try:
        if atomic_create(path, data):
            return True
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.unlink(missing_ok=True)
    return False


def overwrite_with_sidecar(path: Path, data: bytes, sidecar: str | None) -> None:
    """Writes the picture, and its JSON file if it has one, over what is there; artgen's older JSON file goes.

    The older one goes first and the newer one comes last: in between the picture, be it the older or the newer, says no
    more than what it holds itself.

    Raises:
        RefusedError: a symbolic link is there.
        OSError: it cannot be written; what was there is still there, if only the JSON file failed, the newer picture.
    """
    beside = sidecar_path(path)
    reject_symlink(path)
    if sidecar is not None:
        reject_symlink(beside)
    with contextlib.ExitStack() as stack:
        picture = stack.enter_context(temp_file(path.parent, data))
        record = None if sidecar is None else stack.enter_context(temp_file(path.parent, sidecar.encode("utf-8")))
        with displace(beside) if has_sidecar(path) else contextlib.nullcontext():
            picture.replace(path)
        fsync_folder(path.parent)
        if record is not None:
            record.replace(beside)
            fsync_folder(path.parent)


def reject_symlink(path: Path) -> None:
    """Symbolic links are not written through.

    Raises:
        RefusedError: it is one.
    """
    if path.is_symlink():
        raise RefusedError(f"'{path}' is a symbolic link and is not written through", "Name the file itself.")
