"""Create the folders in artgen's cache, and delete them unless a process uses them.

A command that uses files in such a folder holds a shared lock of the folder until it ends (`flock`). On Windows, which
has no locks of folders, a folder with open files cannot be renamed.
"""

import contextlib
import os
import time
from pathlib import Path

from artgen.system.command_state import register_reset
from artgen.system.file_locks import RETRY_SECONDS, try_lock
from artgen.system.files import wrap_write_errors
from artgen.system.paths import user_cache_folder
from artgen.system.temporary import displace

MAX_WAIT_SECONDS = 10.0
"""Longest time to wait for a process that deletes the folder."""

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)

_descriptors: dict[Path, int] = {}
"""Open folders that this process has locked."""


def use_cache_folder(name: str) -> Path:
    """Return a folder in artgen's cache that no other process deletes until this command ends.

    Raises:
        OutputError: the folder does not exist and cannot be created.
    """
    folder = user_cache_folder() / name
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not _is_held(folder):
        with wrap_write_errors(folder), contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
        try:
            descriptor = os.open(folder, _OPEN_FLAGS)
        except FileNotFoundError:
            continue
        except OSError:  # Windows, or not a folder
            return folder
        if _is_locked(descriptor):
            _release(folder)
            _descriptors[folder] = descriptor
        else:
            os.close(descriptor)
            time.sleep(RETRY_SECONDS)
        if time.monotonic() > deadline:
            return folder
    return folder


def remove_cache_folder(name: str) -> bool:
    """Delete a folder in artgen's cache. Return False if a process uses the folder.

    Raises:
        OutputError: the folder cannot be deleted.
    """
    folder = user_cache_folder() / name
    try:
        descriptor = os.open(folder, _OPEN_FLAGS)
    except FileNotFoundError:
        return True
    except OSError:  # Windows, or not a folder
        descriptor = None
    try:
        if descriptor is not None and not _is_locked(descriptor, exclusively=True):
            return False
        with wrap_write_errors(folder), displace(folder):
            pass
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _is_held(folder: Path) -> bool:
    """Return whether this process has locked the folder that now has this path."""
    descriptor = _descriptors.get(folder)
    if descriptor is None:
        return False
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(folder))  # noqa: PTH116
    return False


def _is_locked(descriptor: int, *, exclusively: bool = False) -> bool:
    """Lock an open folder until it is closed; also return True if the file system has no locks."""
    try:
        return try_lock(descriptor, shared=not exclusively)
    except OSError:
        return True


def _release(folder: Path) -> None:
    if (descriptor := _descriptors.pop(folder, None)) is not None:
        os.close(descriptor)


@register_reset
def release_cache_folders() -> None:
    """Release the locks. Each command of the worker locks the folders that it uses."""
    for folder in tuple(_descriptors):
        _release(folder)
