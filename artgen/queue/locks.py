"""Lock jobs for processes that share a folder. The system releases a lock when its process exits or crashes.

The lock of a job is a lock on one byte of an empty file. A crash leaves no stale lock, and no timeout is necessary.
"""

import os
from pathlib import Path

from artgen.errors import OutputError
from artgen.queue import ledger
from artgen.queue.ledger_files import is_open_file
from artgen.system.file_locks import try_lock, unlock_byte


class JobLocks:
    """Store the locks of this process."""

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
        try:
            return try_lock(self._open_lock_file(), _byte_offset(fingerprint))
        except OSError as error:
            raise OutputError(
                f"Cannot lock '{self._path}': {error.strerror or error}.", "Use a folder on a file system with locks."
            ) from error

    def release(self, fingerprint: str) -> None:
        """Release the lock of a job."""
        unlock_byte(self._open_lock_file(), _byte_offset(fingerprint))

    def _open_lock_file(self) -> int:
        if self._fd is not None and not is_open_file(self._fd, self._path):
            os.close(self._fd)  # the file was removed; other processes lock a new one
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
