"""Write files that the user named, and check the folders of outputs."""

import os
from pathlib import Path

from artgen.errors import OutputError, RefusedError
from artgen.outputs.streams import find_stream, write_stream
from artgen.system.files import atomic_create, wrap_write_errors, write_atomically
from artgen.system.temporary import check_writable, clean_stale


def write_user_file(path: Path, data: bytes, *, overwrite: bool, hint: str) -> None:
    """Write a file that the user named, and its missing parent folders.

    Args:
        path: file to write.
        data: content.
        overwrite: replace an existing file.
        hint: hint of the error if the file exists.

    Raises:
        OutputError: The file exists, it cannot be written, or it is a pipe, a socket or a device.
    """
    if (stream := find_stream(str(path))) is not None:
        write_stream(stream, data)
        return
    if overwrite:
        write_atomically(path, data)
        return
    with wrap_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_created = atomic_create(path, data)
    if not is_created:
        raise OutputError(f"'{path}' exists already.", hint)


def check_folder(folder: Path, root: Path, option_name: str) -> None:
    """Check that a folder accepts files or can be created. Remove temporary files of killed processes.

    Args:
        folder: folder to check; a missing folder is not created.
        root: folder that must contain `folder`.
        option_name: option that named the folder, for the hint.

    Raises:
        OutputError: A parent is a file, or the folder is not writable.
        RefusedError: A symbolic link leads out of `root`.
    """
    hint = f"Choose another {option_name}."
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"Cannot write to '{folder}': '{existing}' is not a folder.", hint)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write to '{existing}': permission denied.", hint)
    check_inside(folder, root)
    with wrap_write_errors(existing, hint):
        check_writable(existing)
    if existing == folder:
        clean_stale(folder)


def check_inside(folder: Path, root: Path) -> None:
    """Check that a folder is inside another folder.

    Raises:
        RefusedError: A symbolic link leads out of `root`.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"'{folder}' leads out of '{root}' through a symbolic link.")
