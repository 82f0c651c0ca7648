"""Print entries of the history as a table that fits the terminal, and their thumbnails."""

import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from artgen.cli.console import print_note, print_result
from artgen.system.terminal import is_terminal, printable, terminal_columns

if TYPE_CHECKING:
    from artgen.cli.display import Display
    from artgen.image_history.entry import HistoryEntry
    from artgen.system.terminal_images import TerminalSize

MIN_PROMPT_COLUMNS = 24
"""Width of the prompt below which the table omits other columns."""

MAX_MODEL_COLUMNS = 18
MAX_TAGS_COLUMNS = 24
THUMBNAIL_COLUMNS = 18
"""Width of a thumbnail in characters."""

_OMITTED_FIRST = ("model", "size", "rating", "made")
"""Columns that a narrow terminal omits, in order."""


def print_entries(entries: "Sequence[HistoryEntry]", *, quiet: bool = False) -> None:
    """Print one line for each entry. In a pipe, no line is shortened.

    Args:
        entries: entries, in order.
        quiet: print no heading.
    """
    rows = [_cells(entry) for entry in entries]
    widths = {
        name: max(len(name), *(text_columns(row[name]) for row in rows)) for name in ("id", *reversed(_OMITTED_FIRST))
    }
    columns = terminal_columns(sys.stdout) if is_terminal(sys.stdout) else None
    names = list(widths)
    for name in _OMITTED_FIRST:
        if columns is None or columns - sum(widths[each] + 2 for each in names) >= MIN_PROMPT_COLUMNS:
            break
        names.remove(name)
    rest = None if columns is None else max(1, columns - sum(widths[each] + 2 for each in names))
    if not quiet:
        heading = "  ".join([*(_padded(name, name, widths[name]) for name in names), "prompt"])
        print_note(heading if columns is None else heading[:columns])
    for entry, row in zip(entries, rows, strict=True):
        cells = [_padded(name, row[name], widths[name]) for name in names]
        print_result("  ".join([*cells, _prompt_and_tags(entry, rest)]).rstrip())


def local_time(made_utc: str) -> str:
    """Return the time of an entry in the local time zone: `2026-11-30 12:03`."""
    return f"{datetime.fromisoformat(made_utc).astimezone():%Y-%m-%d %H:%M}"


def print_thumbnails(entries: "Sequence[HistoryEntry]", display: "Display") -> None:
    """Show the thumbnails of entries in the terminal, with the number and the rating of each entry below."""
    from artgen.api.history_access import load_thumbnails
    from artgen.system.terminal_images import image_rows

    captions = [f"{entry.id}{' ' + '*' * entry.rating if entry.rating else ''}" for entry in entries]

    def create_text(size: "TerminalSize") -> str:
        return image_rows(load_thumbnails(entries), captions, size, os.environ, THUMBNAIL_COLUMNS)

    display.show_text(create_text)


def _cells(entry: "HistoryEntry") -> dict[str, str]:
    return {
        "id": str(entry.id),
        "made": local_time(entry.made_utc),
        "rating": "-" if entry.rating is None else str(entry.rating),
        "size": f"{entry.width}x{entry.height}",
        "model": _cut(printable(entry.model.rpartition("/")[2]) or "-", MAX_MODEL_COLUMNS),
    }


def _padded(name: str, text: str, width: int) -> str:
    fill = " " * (width - text_columns(text))
    return f"{fill}{text}" if name in ("id", "size") else f"{text}{fill}"


def _prompt_and_tags(entry: "HistoryEntry", columns: int | None) -> str:
    """Return the prompt, or the task and the file of an image without a prompt, and the tags in brackets."""
    text = printable(entry.prompt) or printable(f"{entry.task} {entry.path.name}".strip())
    tags = f"  [{', '.join(map(printable, entry.tags))}]" if entry.tags else ""
    if columns is None:
        return f"{text}{tags}"
    if tags:
        tags = _cut(tags, min(MAX_TAGS_COLUMNS, columns // 2))
    return f"{_cut(text, columns - text_columns(tags))}{tags}"


def text_columns(text: str) -> int:
    """Return the number of columns of a printable text in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_character_width(each) for each in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _cut(text: str, columns: int) -> str:
    """Return a text of at most `columns` columns; a longer text ends with three dots."""
    if text_columns(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += _character_width(character)
        if used > max(columns - 3, 1):
            break
        kept.append(character)
    return "".join(kept).rstrip() + "..."[: max(columns - 1, 0)]
