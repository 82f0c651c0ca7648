"""Create, lock and clean up temporary files and folders."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from artgen.system import process
from artgen.system.attempt import is_reported, report
from artgen.system.file_locks import try_lock

TEMPORARY_PREFIX = ".artgen-"
TEMPORARY_SUFFIX = ".tmp"

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | getattr(os, "O_BINARY", 0)

_STALE_SECONDS = 300
_LOCK_SECONDS = 1.0

_own_paths: set[Path] = set()
"""Temporary files and folders of this process that exist."""

_creation_lock = threading.RLock()
"""Is held while a temporary file or folder is created. A signal handler can interrupt the thread that holds it."""


@contextlib.contextmanager
def temp_file(folder: Path, data: bytes) -> Iterator[Path]:
    """Yield a temporary file with this content, flushed to the disk. Remove the file unless it was renamed.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = _write_temporary(folder, data)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _own_paths.discard(temporary)


@contextlib.contextmanager
def temp_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, locked. Remove the folder unless it was renamed.

    Raises:
        OSError: The folder cannot be created.
    """
    with _creation_lock:
        temporary = _temporary_path(parent)
        _own_paths.add(temporary)
        temporary.mkdir()
    lock = _lock_folder(temporary)
    try:
        yield temporary
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)
        _own_paths.discard(temporary)


@contextlib.contextmanager
def displace(path: Path) -> Iterator[None]:
    """Rename a file or folder to a temporary name, and remove it. If the body fails, restore the name.

    Raises:
        OSError: The file cannot be renamed.
    """
    displaced = _temporary_path(path.parent)
    report("displaced", temporary=str(displaced), path=str(path))
    path.replace(displaced)
    fsync_folder(path.parent)
    try:
        yield
    except BaseException:
        displaced.replace(path)
        raise
    _remove(displaced)


def check_writable(folder: Path) -> None:
    """Check that an existing folder accepts new files: create an empty file and remove it.

    Raises:
        OSError: The folder does not accept files.
    """
    with temp_file(folder, b""):
        pass


def clean_stale(folder: Path) -> None:
    """Remove temporary files and folders of killed processes: not locked and older than five minutes."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(TEMPORARY_PREFIX) or not entry.name.endswith(TEMPORARY_SUFFIX):
                continue
            with contextlib.suppress(OSError):
                if not entry.is_symlink() and _is_stale(entry):
                    _remove(Path(entry.path))


def remove_own() -> None:
    """Remove the temporary files and folders of this process, before it ends without leaving their contexts."""
    with own_removed():
        pass


@contextlib.contextmanager
def own_removed() -> Iterator[None]:
    """Remove the temporary files and folders of this process, and create no new ones until the block ends.

    Any thread and a signal handler can use this function.
    """
    is_locked = _creation_lock.acquire(timeout=_LOCK_SECONDS)  # a file system can block the creation
    try:
        for path in tuple(_own_paths):
            _remove(path)
        yield
    finally:
        if is_locked:
            _creation_lock.release()


def fsync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, on systems that support this."""
    with contextlib.suppress(OSError):
        _fsync(folder)


def fsync_tree(folder: Path) -> None:
    """Flush all files and names of a folder to the disk.

    Raises:
        OSError: A file cannot be flushed.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            _fsync(Path(parent, name))
        fsync_folder(Path(parent))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary_path(folder: Path) -> Path:
    """Return a path that no other process uses, before each write of a file."""
    process.stop_if_abandoned()
    path = folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}{TEMPORARY_SUFFIX}"
    report("temporary", path=str(path))
    return path


def report_name(source: Path, path: Path) -> None:
    """Report that a new file or folder gets the name `path`, so that its incomplete result is removed after a crash."""
    if not is_reported():
        return
    status = source.lstat()
    report("named", path=str(path), device=status.st_dev, inode=status.st_ino)


def _write_temporary(folder: Path, data: bytes) -> Path:
    with _creation_lock:
        path = _temporary_path(folder)
        _own_paths.add(path)
        handle = os.open(path, CREATE_FLAGS, 0o666)
    try:
        _try_lock(handle)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    os.close(handle)
    return path


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_stale(entry: os.DirEntry[str]) -> bool:
    # A time in the future is not recent: the clock was set back.
    if abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) < _STALE_SECONDS:
        return False
    handle = os.open(entry.path, NOFOLLOW | (os.O_RDONLY if entry.is_dir() else os.O_RDWR))
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _lock_folder(folder: Path) -> int | None:
    """Return a descriptor that keeps the folder locked, None on systems that do not open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY | NOFOLLOW)
    except OSError:
        return None
    _try_lock(handle)
    return handle


def _try_lock(handle: int) -> bool:
    """Lock a file until it is closed. Return False if another process holds the lock, True without lock support."""
    try:
        return try_lock(handle)
    except OSError:
        return True
