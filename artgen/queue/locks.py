"""Who draws what, when several processes work on one folder: a lock for each job, let go by death as by success.

A job's lock is one byte of a file that holds nothing: POSIX record locks may lie beyond its end, they belong to a
process, and the system frees them when it dies. So nothing is left behind by a crash, and no clock decides who is dead.
"""

import contextlib
import os
from pathlib import Path

from artgen.errors import OutputError
from artgen.queue import ledger


class JobLocks:
    """The claims of this process on the jobs of a folder. Where there are no record locks (Windows) all succeed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ledger.LEDGER_FOLDER_NAME / "claims"
        # One handle for the life of the process: closing any handle to the file would drop all its locks.
        self._fd: int | None = None

    def acquire(self, fingerprint: str) -> bool:
        """Claims a job for this process; False when another one has it.

        Args:
            fingerprint: the job's fingerprint, hexadecimal.

        Raises:
            OutputError: the folder cannot be written to.
        """
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.lockf(self._open_lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_offset(fingerprint))
            except (BlockingIOError, PermissionError):
                return False
            except OSError as error:
                raise OutputError(f"'{self._path}' cannot be locked: {error.strerror or error}.") from error
        return True

    def release(self, fingerprint: str) -> None:
        """Lets a job go."""
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.lockf(self._open_lock_file(), fcntl.LOCK_UN, 1, _byte_offset(fingerprint))

    def _open_lock_file(self) -> int:
        if self._fd is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise OutputError(f"'{self._path}' cannot be made: {error.strerror or error}.") from error
        return self._fd


def _byte_offset(fingerprint: str) -> int:
    # 56 bits of the fingerprint; two jobs that fall on one byte only wait for each other.
    return int(fingerprint[:14], 16)
