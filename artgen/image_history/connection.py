"""Open the SQLite file of the history."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import InputFileError, OutputError
from artgen.image_history.schema import check_version, migrate
from artgen.system.file_systems import is_local_file_system
from artgen.system.paths import user_data_folder


class HistoryDamagedError(InputFileError):
    """Report a history that is not a valid SQLite file."""


class HistoryLockedError(OutputError):
    """Report that another process wrote the history for too long."""


ENTRY_BUSY_SECONDS = 0.1
"""Maximum time that the entry of an image waits for another process that writes the history."""

COMMAND_BUSY_SECONDS = 5.0
"""Maximum time that a command such as `artgen history tag` waits."""

SCAN_HINT = "Run: artgen history scan FOLDER"

_LOCKED_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def history_path() -> Path:
    """Return the path of the history: `ARTGEN_HISTORY_FILE`, or `history/history.db` in the user's data folder."""
    variable = os.environ.get("ARTGEN_HISTORY_FILE")
    return Path(variable).expanduser().absolute() if variable else user_data_folder() / "history" / "history.db"


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open or create a history, and update its tables.

    A new file has the mode 0600, and a new folder has the mode 0700. On a local file system, the journal mode is WAL;
    elsewhere a rollback journal is used, because WAL needs memory that all processes share.

    Args:
        path: SQLite file.
        busy_seconds: maximum time to wait for another process.

    Raises:
        InputFileError: The file is damaged, or a newer version of artgen or another program wrote it.
        OutputError: The file is locked, or it cannot be read or written.
    """
    with convert_errors(path):
        _create_file(path)
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            check_version(connection, str(path))
            _set_journal_mode(connection, "wal" if is_local_file_system(path.parent) else "delete")
            migrate(connection, str(path))
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def convert_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite and of the operating system to errors with a hint.

    Raises:
        HistoryDamagedError: The file is not a valid SQLite file.
        HistoryLockedError: Another process writes the file.
        OutputError: The file cannot be read or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _LOCKED_CODES:
            raise HistoryLockedError(f"The history '{path}' is locked by another process.", "Try again.") from error
        if code in _DAMAGED_CODES:
            raise HistoryDamagedError(f"The history '{path}' is damaged: {error}.", SCAN_HINT) from error
        raise OutputError(
            f"The history '{path}' cannot be read or written: {error}.", "Set ARTGEN_HISTORY_FILE to another file."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The history '{path}' cannot be read or written: {error.strerror or error}.",
            "Set ARTGEN_HISTORY_FILE to another file.",
        ) from error


def _create_file(path: Path) -> None:
    """Create an empty file that only the user can read. SQLite gives its journal files the same mode."""
    if path.exists():
        return
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _set_journal_mode(connection: sqlite3.Connection, mode: str) -> None:
    """Set the journal mode. WAL with the level NORMAL survives a crash of the process without an fsync per entry."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
