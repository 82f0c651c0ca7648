"""Define the tables of the history as numbered migrations."""

import sqlite3

from artgen.errors import InputFileError

APPLICATION_ID = 0x61727467
"""Identifier of a history in the header of an SQLite file: "artg"."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE image (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            sha256 TEXT NOT NULL UNIQUE,
            path TEXT NOT NULL,
            num_bytes INTEGER NOT NULL,
            made_utc TEXT NOT NULL,
            task TEXT NOT NULL,
            prompt TEXT NOT NULL,
            negative_prompt TEXT NOT NULL,
            model TEXT NOT NULL,
            model_hash TEXT NOT NULL,
            loras TEXT NOT NULL,
            seed TEXT,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            seconds REAL,
            parent TEXT,
            rating INTEGER CHECK (rating BETWEEN 1 AND 5)
        )
        """,
        "CREATE INDEX image_made_utc ON image (made_utc)",
        "CREATE INDEX image_parent ON image (parent) WHERE parent IS NOT NULL",
        "CREATE INDEX image_path ON image (path)",
        """
        CREATE TABLE record (
            image_id INTEGER PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
            json TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE thumbnail (
            image_id INTEGER PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
            webp BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE tag (
            image_id INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            PRIMARY KEY (image_id, name)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX tag_name ON tag (name)",
        """
        CREATE VIRTUAL TABLE image_fts USING fts5 (
            prompt, negative_prompt, model, tags, tokenize = 'unicode61 remove_diacritics 2'
        )
        """,
    ),
    ("ALTER TABLE thumbnail RENAME COLUMN webp TO data",),
)
"""SQL statements of each version. A released migration never changes; a new version appends one.

`image` has the small values, so that a search reads few pages. `loras` has the names of the LoRAs in lower case, each
between newlines. `seed` is a text: seeds have up to 64 bits without a sign. The rowid in `image_fts` is `image.id`.
"""

VERSION = len(_MIGRATIONS)
"""Version of the tables, in `PRAGMA user_version`."""


def check_version(connection: sqlite3.Connection, name: str) -> None:
    """Check that this version of artgen can read a file, without changing the file.

    Raises:
        InputFileError: A newer version of artgen or another program wrote the file.
        sqlite3.Error: The file cannot be read.
    """
    _version(connection, name)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Create the tables, or update the tables of an earlier version of artgen.

    Args:
        connection: connection in autocommit mode.
        name: path for messages.

    Raises:
        InputFileError: A newer version of artgen or another program wrote the file.
        sqlite3.Error: The file cannot be read or written.
    """
    if _version(connection, name) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_version(connection, name), VERSION):  # another process may have migrated in between
            for statement in _MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, name: str) -> int:
    """Return the version of the tables; 0 for an empty file.

    Raises:
        InputFileError: A newer version of artgen or another program wrote the file.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    if application != APPLICATION_ID and has_tables:
        raise InputFileError(
            f"'{name}' is not a history of artgen: it is a database of another program.",
            "Set ARTGEN_HISTORY_FILE to another file.",
        )
    if version > VERSION:
        raise InputFileError(
            f"A newer version of artgen wrote the history '{name}': it has version {version}, and this artgen supports "
            f"version {VERSION}.",
            "Update artgen, or set ARTGEN_HISTORY_FILE to another file.",
        )
    return version
