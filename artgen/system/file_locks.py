"""Lock files against other processes. Systems without `fcntl` (Windows) have no locks: every call succeeds."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

RETRY_SECONDS = 0.01


def try_lock(descriptor: int, byte: int | None = None) -> bool:
    """Lock an open file, or one byte of it. Return False if another owner holds the lock.

    Args:
        descriptor: open file descriptor.
        byte: None: lock the file for this descriptor until it is closed (`flock`), also against threads. Otherwise:
            offset of a byte, which may be beyond the end of the file. The byte is locked for this process until it
            closes any descriptor of the file (POSIX record lock).

    Raises:
        OSError: the file system has no locks.
    """
    with contextlib.suppress(ImportError):
        import fcntl

        operation = fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            if byte is None:
                fcntl.flock(descriptor, operation)
            else:
                fcntl.lockf(descriptor, operation, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
    return True


def unlock_byte(descriptor: int, byte: int) -> None:
    """Release the lock of a byte. Errors are ignored."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


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
