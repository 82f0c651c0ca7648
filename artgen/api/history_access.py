"""Open the history and find its entries, for the functions of the Python API and the commands."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from artgen.errors import UsageError
from artgen.image_history.find_entry import find_entry, is_entry_name
from artgen.spec.fields import describe_value

if TYPE_CHECKING:
    from PIL import Image

    from artgen.image_history.database import History
    from artgen.image_history.entry import HistoryEntry
    from artgen.image_history.query import HistoryQuery

    EntryName: TypeAlias = int | str | os.PathLike[str] | HistoryEntry
    """Name of an entry: its number, `history:NUMBER`, `last`, a hash, the path of the image file, or the entry."""


@dataclass(frozen=True)
class EntryDetails:
    """Store an entry, and facts that depend on other entries and files.

    Attributes:
        entry: the entry.
        file: path of the image file now; None if the file is missing.
        parent_id: number of the entry of the input image; None if it is not in the history.
        children: numbers of the entries of the images that were made from this image.
    """

    entry: "HistoryEntry"
    file: Path | None
    parent_id: int | None
    children: tuple[int, ...]


def run_query(query: "HistoryQuery") -> "list[HistoryEntry]":
    """Return the entries that match a query, the newest first."""
    with opened_history() as history:
        return [] if history is None else history.search(query)


def find_files(entries: "Sequence[HistoryEntry]") -> list[Path | None]:
    """Return the path of the image file of each entry now; None if the file is missing."""
    with opened_history() as history:
        return [None if history is None else history.find_file(entry) for entry in entries]


def entry_details(ids: "EntryName | Iterable[EntryName]") -> list[EntryDetails]:
    """Return the details of the entries that names select. See `history_entry`."""
    entries = select_entries(ids)
    with opened_history() as history:
        return [] if history is None else [_details(history, entry) for entry in entries]


def _details(history: "History", entry: "HistoryEntry") -> EntryDetails:
    parents = history.find_sha256(entry.parent) if entry.parent else []
    children = tuple(child.id for child in history.children(entry.sha256))
    return EntryDetails(entry, history.find_file(entry), parents[0].id if parents else None, children)


def load_thumbnails(entries: "Sequence[HistoryEntry]") -> "list[Image.Image | None]":
    """Return the thumbnail of each entry, at most 256 pixels wide and high; None if the history does not have it."""
    with opened_history() as history:
        found = [None if history is None else history.thumbnail(entry.id) for entry in entries]
    return [None if data is None else _decode_thumbnail(data) for data in found]


def _decode_thumbnail(data: bytes) -> "Image.Image | None":
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP")) as image:
            return image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):  # a damaged thumbnail, or Pillow without WebP
        return None


def replay_source(path: Path) -> Path:
    """Return the file with the record of `history:ID`; other paths are returned unchanged.

    If the image file is missing, a file in memory with the record of the entry is returned.

    Raises:
        UsageError: the history has no such entry.
        InputFileError, OutputError: the history is damaged or locked.
    """
    if not is_entry_name(str(path)):
        return path
    from artgen.system.memory_file import MemoryFile

    with opened_history() as history:
        entry = named_entry(history, str(path))
        found = None if history is None else history.find_file(entry)
    return found or MemoryFile.create("record.json", json.dumps(dict(entry.record)).encode())


@contextlib.contextmanager
def opened_history() -> "Iterator[History | None]":
    """Open the history of the user; None if it does not exist yet."""
    from artgen.image_history.database import open_existing_history

    history = open_existing_history()
    if history is None:
        yield None
        return
    with history:
        yield history


def select_entries(ids: "EntryName | Iterable[EntryName]") -> "list[HistoryEntry]":
    """Return the entries that names select, each once, in their order. See `history_entry`."""
    with opened_history() as history:
        return [*{(entry := named_entry(history, name)).id: entry for name in entry_names(ids)}.values()]


def change_entries(
    ids: "EntryName | Iterable[EntryName]", change: "Callable[[History, list[int]], None]"
) -> "list[HistoryEntry]":
    """Find all entries, then change them, and return the changed entries, each once."""
    names = entry_names(ids)
    with opened_history() as history:
        numbers = [*dict.fromkeys(named_entry(history, name).id for name in names)]
        if history is None:
            return []
        change(history, numbers)
        return [entry for number in numbers if (entry := history.get(number)) is not None]


def entry_names(ids: Any) -> "list[EntryName]":
    from artgen.image_history.entry import HistoryEntry

    if isinstance(ids, int | str | os.PathLike | HistoryEntry):
        return [ids]
    try:
        return list(ids)
    except TypeError:
        raise UsageError(f"ids must be an entry of the history or a list, not {describe_value(ids)}.") from None


def named_entry(history: "History | None", name: Any) -> "HistoryEntry":
    from artgen.image_history.entry import HistoryEntry

    if isinstance(name, HistoryEntry):
        return find_entry(history, name.id)
    if isinstance(name, bool) or not isinstance(name, int | str | os.PathLike):
        raise UsageError(f"An id is a number, a text or a path, not {describe_value(name)}.", "For example: 12.")
    return find_entry(history, name)
