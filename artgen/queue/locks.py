"""Lock jobs for processes that share a folder. The system releases a lock when its process exits or crashes.

The lock of a job is a POSIX record lock on one byte of an empty file: record locks can be beyond the end of a file, and
they belong to a process. Therefore a crash leaves no stale lock, and no timeout is necessary.
"""

import contextlib
import os
from pathlib import Path

from artgen.errors import OutputError
from artgen.queue import ledger
from artgen.queue.ledger_files import is_open_file


class JobLocks:
    """Store the locks of this process. On systems without record locks (Windows) every call succeeds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ledger.LEDGER_FOLDER_NAME / "claims"
        # The handle stays open: closing any handle of the file releases all locks of the process.
        self._fd: int | None = None

    def acquire(self, fingerprint: str) -> bool:
        """Lock a job. Return False if another process has the lock.

        Args:
            fingerprint: fingerprint of the job, hexadecimal.

        Raises:
            OutputError: the lock file cannot be created or locked.
        """
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.lockf(self._open_lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_offset(fingerprint))
            except (BlockingIOError, PermissionError):
                return False
            except OSError as error:
                raise OutputError(
                    f"Cannot lock '{self._path}': {error.strerror or error}.",
                    "Use a folder on a file system with locks.",
                ) from error
        return True

    def release(self, fingerprint: str) -> None:
        """Release the lock of a job."""
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.lockf(self._open_lock_file(), fcntl.LOCK_UN, 1, _byte_offset(fingerprint))

    def _open_lock_file(self) -> int:
        if self._fd is not None and not is_open_file(self._fd, self._path):
            os.close(self._fd)  # somebody removed the file; other processes lock a new one
            self._fd = None
        if self._fd is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise OutputError(
                    f"Cannot create '{self._path}': {error.strerror or error}.", "Check the permissions of the folder."
                ) from error
        return self._fd


def _byte_offset(fingerprint: str) -> int:
    # 56 bits of the fingerprint. If two jobs have the same offset, they only wait for each other.
    return int(fingerprint[:14], 16)
