"""Run queries and transactions on an open SQLite file, from several threads."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from artgen.image_history.connection import SCAN_HINT, HistoryDamagedError, convert_errors

_abandoned: list[sqlite3.Connection] = []
"""Connections that are never closed; see `SqliteFile.abandon`."""


def file_id(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class SqliteFile:
    """Represent an open file. All methods can be called from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Store a connection that `artgen.image_history.connection.connect` opened."""
        self.path = path
        self._file_id = file_id(path)
        self._connection = connection
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock, convert_errors(self.path):
            self._connection.close()

    @property
    def is_current(self) -> bool:
        """Return whether the path names the open file. The file can be deleted or renamed while it is open."""
        return self._file_id == file_id(self.path)

    def abandon(self) -> None:
        """Stop using a file that is not current. Closing it would delete the journal of a new file at this path."""
        _abandoned.append(self._connection)

    def check(self) -> None:
        """Check the structure of the file.

        Raises:
            HistoryDamagedError: The file is damaged.
        """
        text = self._fetch("PRAGMA quick_check(1)")[0][0]
        if text != "ok":
            raise HistoryDamagedError(f"The history '{self.path}' is damaged: {text}.", SCAN_HINT)

    def _fetch(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._lock, convert_errors(self.path):
            return self._connection.execute(sql, tuple(parameters)).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lock the file for writing, and commit all changes together. An inner transaction is part of the outer one."""
        with self._lock, convert_errors(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has ended the transaction already
                    self._connection.execute("ROLLBACK")
                raise
