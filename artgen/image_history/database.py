"""Read and write the history: an SQLite file with one entry per generated image."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.image_history.connection import (
    COMMAND_BUSY_SECONDS,
    connect,
    convert_errors,
    history_path,
)
from artgen.image_history.entry import HistoryEntry
from artgen.image_history.moved_files import find_moved_file
from artgen.image_history.rows import (
    ENTRY_SELECT,
    decode_path,
    encode_path,
    record_json,
    stored_text,
    to_columns,
    to_entry,
)
from artgen.image_history.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from artgen.image_history.query import HistoryQuery

_IDS_PER_QUERY = 500

_ADD_FTS = """
    INSERT INTO image_fts (rowid, prompt, negative_prompt, model, tags)
    SELECT id, prompt, negative_prompt, model,
        coalesce((SELECT group_concat(name, ' ') FROM tag WHERE image_id = image.id), '')
    FROM image WHERE id = ?
"""


def open_existing_history(path: Path | None = None) -> "History | None":
    """Open the history of the user. Return None if it does not exist.

    Raises:
        InputFileError, OutputError: See `open_history`.
    """
    file = path or history_path()
    with convert_errors(file):
        exists = file.exists()
    return open_history(file) if exists else None


def open_history(path: Path | None = None, *, busy_seconds: float = COMMAND_BUSY_SECONDS) -> "History":
    """Open the history of the user, or create it.

    Args:
        path: SQLite file; None selects `history_path()`.
        busy_seconds: maximum time of each operation to wait for another process.

    Raises:
        InputFileError: The file is damaged, or a newer version of artgen or another program wrote it.
        OutputError: The file is locked, or it cannot be read or written.
    """
    file = path or history_path()
    return History(file, connect(file, busy_seconds))


class History(SqliteFile):
    """Represent an open history. All methods can be called from several threads.

    Methods raise InputFileError if the file is damaged, and OutputError if it is locked or cannot be read or written.
    """

    def add(self, entry: HistoryEntry, num_bytes: int, thumbnail: bytes | None = None) -> int:
        """Add an entry and return its `id`. If the history has an entry with the same hash, its values are replaced.

        The rating and the tags of an existing entry are kept. A duration and a thumbnail are kept if the new values are
        None. The rating and the tags of `entry` are ignored.

        Args:
            entry: entry of an image file, see `create_entry`; `id` is ignored.
            num_bytes: size of the image file.
            thumbnail: file of `artgen.images.thumbnails.encode_thumbnail`.
        """
        columns = to_columns(entry, num_bytes)
        with self._transaction() as connection:
            row = connection.execute("SELECT id FROM image WHERE sha256 = ?", (entry.sha256,)).fetchone()
            if row is None:
                number = _insert(connection, columns)
            else:
                number = int(row[0])
                _update(connection, number, columns)
            connection.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (number, record_json(entry.record)))
            if thumbnail is not None:
                connection.execute("INSERT OR REPLACE INTO thumbnail VALUES (?, ?)", (number, thumbnail))
            _update_fts(connection, number)
        return number

    def get(self, entry_id: int) -> HistoryEntry | None:
        """Return the entry with this `id`, or None."""
        return next(iter(self._entries([entry_id])), None)

    def find_sha256(self, prefix: str) -> list[HistoryEntry]:
        """Return the entries whose hash starts with these hexadecimal digits; an empty list for other texts."""
        if not prefix or not set(prefix.lower()) <= set("0123456789abcdef"):
            return []
        return self._select("WHERE sha256 GLOB ? ORDER BY made_utc DESC, image.id DESC", (f"{prefix.lower()}*",))

    def children(self, sha256: str) -> list[HistoryEntry]:
        """Return the entries of the images that were made from the image with this hash, oldest first."""
        return self._select("WHERE parent = ? ORDER BY made_utc, image.id", (sha256,))

    def search(self, query: "HistoryQuery") -> list[HistoryEntry]:
        """Return the entries that match a query, newest first."""
        from artgen.image_history.query_sql import select_ids

        sql, parameters = select_ids(query)
        return self._entries([row[0] for row in self._fetch(sql, parameters)])

    def all(self) -> Iterator[HistoryEntry]:
        """Yield all entries in the order of their `id`."""
        last = 0
        while entries := self._select(f"WHERE image.id > ? ORDER BY image.id LIMIT {_IDS_PER_QUERY}", (last,)):
            yield from entries
            last = entries[-1].id

    def newest_ids(self, last_id: int | None = None) -> list[int]:
        """Return the ids of the entries, newest first.

        Args:
            last_id: ignore entries with a greater id, which were added later; None: all entries.
        """
        limit = -1 if last_id is None else last_id
        rows = self._fetch(
            "SELECT id FROM image WHERE ? < 0 OR id <= ? ORDER BY made_utc DESC, id DESC", (limit, limit)
        )
        return [int(row[0]) for row in rows]

    def entries(self, entry_ids: list[int]) -> list[HistoryEntry]:
        """Return the entries with these ids, in this order. Unknown ids are left out."""
        return self._entries(entry_ids)

    def count(self) -> int:
        """Return the number of entries."""
        return int(self._fetch("SELECT count(*) FROM image")[0][0])

    def thumbnail(self, entry_id: int) -> bytes | None:
        """Return the thumbnail of an entry as a JPEG or WebP file; None if the history does not have it."""
        rows = self._fetch("SELECT data FROM thumbnail WHERE image_id = ?", (entry_id,))
        return bytes(rows[0][0]) if rows else None

    def set_rating(self, entry_ids: Iterable[int], rating: int | None) -> None:
        """Set the rating of entries; None removes it. Unknown ids are ignored.

        Raises:
            UsageError: The rating is not a whole number from 1 to 5.
        """
        _check_rating(rating)
        with self._transaction() as connection:
            connection.executemany("UPDATE image SET rating = ? WHERE id = ?", [(rating, each) for each in entry_ids])

    def add_tags(self, entry_ids: Iterable[int], tags: Iterable[str]) -> None:
        """Add tags to entries. Unknown ids are ignored."""
        self._change_tags("INSERT OR IGNORE INTO tag SELECT id, ? FROM image WHERE id = ?", entry_ids, tags)

    def remove_tags(self, entry_ids: Iterable[int], tags: Iterable[str]) -> None:
        """Remove tags from entries. Unknown ids and tags are ignored."""
        self._change_tags("DELETE FROM tag WHERE name = ? AND image_id = ?", entry_ids, tags)

    def _change_tags(self, statement: str, entry_ids: Iterable[int], tags: Iterable[str]) -> None:
        """Run a statement with the parameters tag and id for each tag of each entry, and update the search index."""
        names = [stored_text(tag) for tag in tags]
        with self._transaction() as connection:
            for number in entry_ids:
                connection.executemany(statement, [(name, number) for name in names])
                _update_fts(connection, number)

    def list_tags(self) -> list[tuple[str, int]]:
        """Return all tags with the number of their entries, sorted by name."""
        return [(name, count) for name, count in self._fetch("SELECT name, count(*) FROM tag GROUP BY name")]

    def forget(self, entry_ids: Iterable[int]) -> int:
        """Delete entries, not their image files. Return the number of deleted entries."""
        numbers = [(each,) for each in entry_ids]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM image_fts WHERE rowid = ?", numbers)
            return connection.executemany("DELETE FROM image WHERE id = ?", numbers).rowcount

    def import_marks(self, sha256: str, rating: int | None, tags: Iterable[str]) -> bool:
        """Set the rating and add the tags of an exported entry. Return False if no entry has the hash.

        Args:
            sha256: hash of the image file.
            rating: 1 to 5; None keeps the rating of the history.
            tags: tags to add.

        Raises:
            UsageError: The rating is not a whole number from 1 to 5.
        """
        _check_rating(rating)
        with self._transaction():
            rows = self._fetch("SELECT id FROM image WHERE sha256 = ?", (sha256,))
            numbers = [int(row[0]) for row in rows]
            if rating is not None:
                self.set_rating(numbers, rating)
            self.add_tags(numbers, tags)
        return bool(numbers)

    def set_path(self, entry_id: int, path: Path) -> None:
        """Store the new path of an image file that was moved."""
        with self._transaction() as connection:
            connection.execute("UPDATE image SET path = ? WHERE id = ?", (encode_path(path.absolute()), entry_id))

    def find_file(self, entry: HistoryEntry) -> Path | None:
        """Return the path of the image file of an entry, or None if the file is not found.

        If the file is missing or has another hash, the method searches the folders of all entries for a file with the
        same size and hash, and stores its path. `artgen history scan FOLDER` finds files in other folders.
        """
        rows = self._fetch("SELECT num_bytes FROM image WHERE id = ?", (entry.id,))
        num_bytes = int(rows[0][0]) if rows else None
        found = find_moved_file(entry.path, entry.sha256, num_bytes, self.paths)
        if found is not None and found != entry.path and rows:
            self.set_path(entry.id, found)
        return found

    def file_states(self) -> dict[Path, tuple[str, int]]:
        """Return the modification time (`made_utc`) and the size in bytes of each file, by path."""
        rows = self._fetch("SELECT path, made_utc, num_bytes FROM image")
        return {decode_path(path): (made_utc, num_bytes) for path, made_utc, num_bytes in rows}

    def paths(self) -> list[Path]:
        """Return the paths of all entries."""
        return [decode_path(str(row[0])) for row in self._fetch("SELECT path FROM image")]

    def _entries(self, entry_ids: list[int]) -> list[HistoryEntry]:
        """Return the entries with these ids, in this order."""
        found = {}
        for start in range(0, len(entry_ids), _IDS_PER_QUERY):
            part = entry_ids[start : start + _IDS_PER_QUERY]
            for entry in self._select(f"WHERE image.id IN ({', '.join('?' * len(part))})", part):
                found[entry.id] = entry
        return [found[each] for each in entry_ids if each in found]

    def _select(self, condition: str, parameters: Iterable[object]) -> list[HistoryEntry]:
        return [to_entry(row) for row in self._fetch(f"{ENTRY_SELECT} {condition}", tuple(parameters))]


def _insert(connection: sqlite3.Connection, columns: Mapping[str, Any]) -> int:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    cursor = connection.execute(f"INSERT INTO image ({names}) VALUES ({marks})", tuple(columns.values()))
    return int(cursor.lastrowid or 0)


def _update(connection: sqlite3.Connection, entry_id: int, columns: Mapping[str, Any]) -> None:
    values = {name: value for name, value in columns.items() if name != "seconds" or value is not None}
    names = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE image SET {names} WHERE id = ?", (*values.values(), entry_id))


def _update_fts(connection: sqlite3.Connection, entry_id: int) -> None:
    connection.execute("DELETE FROM image_fts WHERE rowid = ?", (entry_id,))
    connection.execute(_ADD_FTS, (entry_id,))


def _check_rating(rating: int | None) -> None:
    if rating is not None:
        from artgen.image_history.query import check_rating

        check_rating(rating)
