"""Find an entry of the history by the text that names it: `12`, `history:12`, `last`, a hash or an image file."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.image_history.moved_files import file_sha256
from artgen.spec.fields import describe_value
from artgen.system.files import wrap_read_errors

if TYPE_CHECKING:
    from artgen.image_history.database import History
    from artgen.image_history.entry import HistoryEntry

ENTRY_PREFIX = "history:"
"""Prefix of the name of an entry in the place of an image file: `history:12`."""

LAST_ENTRY = "last"
"""Name of the newest entry."""

MIN_HASH_DIGITS = 6
"""Minimum number of digits of a hash. A shorter text of digits is a number."""

SCAN_EXAMPLE = "artgen history scan FOLDER"
EMPTY_HINT = f"Generated images are added to the history. To add the images of a folder: {SCAN_EXAMPLE}"

_MAX_ID_DIGITS = 18
_ENTRY_HINT = "`artgen history` lists the entries."


def is_entry_name(text: str) -> bool:
    """Return whether a text names an entry in the place of an image file: `history:12`, `history:last` or a hash.

    A file with this name has priority.
    """
    name = text.removeprefix(ENTRY_PREFIX)
    return name != text and _is_short_name(name) and not os.path.lexists(text)


def is_number_or_hash(text: str) -> bool:
    """Return whether a text is the number of an entry, `last`, or a hash of at least 6 digits, also after `history:`.

    A hash contains at least one decimal digit, so that `facade` is not a hash.
    """
    return _is_short_name(text.removeprefix(ENTRY_PREFIX))


def _is_short_name(name: str) -> bool:
    if name == LAST_ENTRY or _is_number(name):
        return True
    return bool(re.fullmatch(rf"[0-9a-fA-F]{{{MIN_HASH_DIGITS},64}}", name)) and any(map(str.isdecimal, name))


def find_entry(history: "History | None", name: str | os.PathLike[str] | int) -> "HistoryEntry":
    """Return the entry that a text names.

    Args:
        history: open history; None if it does not exist.
        name: number of the entry, `history:NUMBER`, `last`, the first 6 or more digits of the SHA-256 of the image
            file, or the path of the image file.

    Raises:
        UsageError: no entry or several entries have the name.
        InputFileError: the image file cannot be read.
    """
    text = name if isinstance(name, str) else str(name) if isinstance(name, int) else os.fspath(name)
    short = text.strip().removeprefix(ENTRY_PREFIX)
    if history is None or (entries := _find_entries(history, short)) == []:
        raise _missing_entry(history, text)
    if len(entries) > 1:
        numbers = ", ".join(str(entry.id) for entry in entries[:5])
        raise UsageError(
            f"{describe_value(text)} names {len(entries)} entries of the history: {numbers}"
            f"{', ...' if len(entries) > 5 else ''}.",
            "Use a number, or more digits of the hash.",
        )
    return entries[0]


def _find_entries(history: "History", name: str) -> "list[HistoryEntry]":
    from artgen.image_history.query import HistoryQuery

    if name == LAST_ENTRY:
        return history.search(HistoryQuery(limit=1))
    if _is_number(name) and (entry := history.get(int(name))) is not None:
        return [entry]
    if _is_short_name(name):
        return history.find_sha256(name) if len(name) >= MIN_HASH_DIGITS else []
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if not name or not os.path.lexists(path):
        return []
    with wrap_read_errors(path):
        return history.find_sha256(file_sha256(path))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= _MAX_ID_DIGITS


def _missing_entry(history: "History | None", text: str) -> UsageError:
    if history is None or history.count() == 0:
        return UsageError(f"The history has no entry {describe_value(text)}: it is empty.", EMPTY_HINT)
    if os.path.lexists(text):
        return UsageError(
            f"The image {describe_value(text)} is not in the history.", f"To add the images of a folder: {SCAN_EXAMPLE}"
        )
    return UsageError(f"The history has no entry {describe_value(text)}.", _ENTRY_HINT)
