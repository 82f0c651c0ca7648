"""Lock jobs for processes and threads that share a folder.

The system releases a lock when its process exits or crashes. The lock of a job is a lock on one byte of an empty file.
A crash leaves no stale lock, and no timeout is necessary.
"""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from artgen.errors import OutputError
from artgen.queue import ledger
from artgen.queue.ledger_files import is_open_file
from artgen.system.file_locks import try_lock, unlock_byte


@dataclass
class _LockFile:
    """Store the handle of a lock file and the locked bytes of this process.

    The threads of a process share one handle: the system does not lock a byte against another thread, and closing any
    handle of the file releases all locks of the process.
    """

    path: Path
    descriptor: int | None = None
    locked_bytes: set[int] = field(default_factory=set)
    num_users: int = 0

    def open(self) -> int:
        """Return the handle. Open the file again if it was removed: other processes lock a new one."""
        if self.descriptor is not None and not is_open_file(self.descriptor, self.path):
            self.close()
        if self.descriptor is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise OutputError(
                    f"Cannot create '{self.path}': {error.strerror or error}.", "Check the permissions of the folder."
                ) from error
        return self.descriptor

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


_files: dict[str, _LockFile] = {}
"""Lock files that this process uses, by real path."""

_files_lock = threading.Lock()


class JobLocks:
    """Store the locks of one run of a batch in this process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ledger.LEDGER_FOLDER_NAME / "claims"
        self._key = os.path.realpath(self._path)
        self._own_bytes: set[int] = set()
        with _files_lock:
            self._file = _files.setdefault(self._key, _LockFile(Path(self._key)))
            self._file.num_users += 1

    def acquire(self, fingerprint: str) -> bool:
        """Lock a job. Return False if another process or another run of this process has the lock.

        Args:
            fingerprint: fingerprint of the job, hexadecimal.

        Raises:
            OutputError: the lock file cannot be created or locked.
        """
        offset = _byte_offset(fingerprint)
        with _files_lock:
            if offset in self._file.locked_bytes - self._own_bytes:
                return False
            try:
                is_locked = try_lock(self._file.open(), offset)
            except OSError as error:
                raise OutputError(
                    f"Cannot lock '{self._path}': {error.strerror or error}.",
                    "Use a folder on a file system with locks.",
                ) from error
            if is_locked:
                self._file.locked_bytes.add(offset)
                self._own_bytes.add(offset)
            return is_locked

    def release(self, fingerprint: str) -> None:
        """Release the lock of a job."""
        with _files_lock:
            self._release(_byte_offset(fingerprint))

    def close(self) -> None:
        """Release all locks of this object, and close the file if no other object uses it."""
        with _files_lock:
            for offset in tuple(self._own_bytes):
                self._release(offset)
            self._file.num_users -= 1
            if not self._file.num_users:
                self._file.close()
                _files.pop(self._key, None)

    def _release(self, offset: int) -> None:
        self._own_bytes.discard(offset)
        self._file.locked_bytes.discard(offset)
        if self._file.descriptor is not None:
            unlock_byte(self._file.descriptor, offset)


def _byte_offset(fingerprint: str) -> int:
    # 56 bits of the fingerprint. If two jobs have the same offset, they only wait for each other.
    return int(fingerprint[:14], 16)
