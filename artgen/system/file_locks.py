"""Lock files against other processes, with `fcntl`, or on Windows with `msvcrt`."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RETRY_SECONDS = 0.01

_WINDOWS_FILE_OFFSET = (1 << 31) - 2
_WINDOWS_FIRST_OFFSET = 1 << 30
_WINDOWS_NUM_OFFSETS = (1 << 30) - 2
"""Offsets of the locked bytes on Windows, whose `_locking` has 31 bits for an offset."""


def try_lock(descriptor: int, byte: int | None = None, *, shared: bool = False) -> bool:
    """Lock an open file, or one byte of it. Return False if another owner holds the lock.

    Args:
        descriptor: open file descriptor.
        byte: None: lock the file for this descriptor until it is closed (`flock`), also against threads. Otherwise:
            offset of a byte, >= 0, which may be beyond the end of the file. The byte is locked for this process until
            it closes any descriptor of the file (POSIX record lock). On Windows, different offsets may share a lock.
        shared: lock the file against owners of an exclusive lock only. Windows has no shared locks.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        if fcntl is None:
            _lock_on_windows(descriptor, byte)
        elif byte is None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock_byte(descriptor: int, byte: int) -> None:
    """Release the lock of a byte. Errors are ignored."""
    with contextlib.suppress(OSError):
        if fcntl is None:
            _lock_on_windows(descriptor, byte, unlock=True)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


def _lock_on_windows(descriptor: int, byte: int | None, *, unlock: bool = False) -> None:
    """Lock or unlock one byte beyond the data. Windows refuses to read and write locked bytes of other descriptors.

    Raises:
        PermissionError: another descriptor holds the lock.
    """
    import msvcrt

    offset = _WINDOWS_FILE_OFFSET if byte is None else _WINDOWS_FIRST_OFFSET + byte % _WINDOWS_NUM_OFFSETS
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, offset, os.SEEK_SET)
    try:
        mode = "LK_UNLCK" if unlock else "LK_NBLCK"
        msvcrt.locking(descriptor, getattr(msvcrt, mode), 1)  # type: ignore[attr-defined]
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)


@contextlib.contextmanager
def locked(descriptor: int, path: Path, max_seconds: float) -> Iterator[None]:
    """Hold the lock of an open file, and close the file.

    Args:
        descriptor: open file descriptor.
        path: path of the file, for the message.
        max_seconds: longest time to wait for another owner.

    Raises:
        OSError: the file system has no locks, or another owner holds the lock for `max_seconds`.
    """
    try:
        deadline = time.monotonic() + max_seconds
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"'{path}' is locked")
            time.sleep(RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)
