"""Write an image together with its JSON sidecar. A crash never pairs an image with the record of another image."""

import contextlib
import os
from pathlib import Path

from artgen.errors import RefusedError
from artgen.metadata import has_sidecar, sidecar_path
from artgen.system.files import atomic_create
from artgen.system.temporary import displace, fsync_folder, temp_file


def create_with_sidecar(path: Path, data: bytes, sidecar: str | None) -> bool:
    """Write an image and its sidecar, if any, under new names. Return False if one of the names is taken.

    The name of the image is also taken if artgen's sidecar of another image has the matching name.

    Raises:
        OSError: A file cannot be written; neither file remains.
    """
    json_path = sidecar_path(path)
    if sidecar is None:
        return not has_sidecar(path) and atomic_create(path, data)
    if os.path.lexists(path) or not atomic_create(json_path, sidecar.encode("utf-8")):
        return False
    try:
        if atomic_create(path, data):
            return True
    except BaseException:
        json_path.unlink(missing_ok=True)
        raise
    json_path.unlink(missing_ok=True)
    return False


def overwrite_with_sidecar(path: Path, data: bytes, sidecar: str | None) -> None:
    """Replace an image and its sidecar. Remove artgen's old sidecar.

    The old sidecar is removed first and the new sidecar is written last: in between, only the metadata inside the
    image describes it.

    Raises:
        RefusedError: A target is a symbolic link.
        OSError: A file cannot be written. The old files are unchanged unless only the new sidecar failed.
    """
    json_path = sidecar_path(path)
    reject_symlink(path)
    if sidecar is not None:
        reject_symlink(json_path)
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(temp_file(path.parent, data))
        record = None if sidecar is None else stack.enter_context(temp_file(path.parent, sidecar.encode("utf-8")))
        with displace(json_path) if has_sidecar(path) else contextlib.nullcontext():
            image.replace(path)
        fsync_folder(path.parent)
        if record is not None:
            record.replace(json_path)
            fsync_folder(path.parent)


def reject_symlink(path: Path) -> None:
    """Reject a symbolic link as a target.

    Raises:
        RefusedError: The path is a symbolic link.
    """
    if path.is_symlink():
        raise RefusedError(f"'{path}' is a symbolic link; artgen does not write to it.", "Use the name of the file.")
