"""Read exported ratings and tags: JSON lines with the hash of each image file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.image_history.entry import HistoryEntry
from artgen.image_history.query import check_rating, parse_tags
from artgen.system.external_data import decode_text, parse_json

MAX_MARKS_BYTES = 1 << 28
"""Limit of a file of ratings and tags."""


@dataclass(frozen=True)
class ImageMarks:
    """Store the rating and the tags of an image, which no image file contains.

    Attributes:
        sha256: SHA-256 of the image file, 64 hex digits.
        path: last known path of the image file; only for readers, the import ignores it.
        rating: 1 to 5, or None.
        tags: tags, sorted.
    """

    sha256: str
    path: Path
    rating: int | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ImportedMarks:
    """Count the images of an import of ratings and tags.

    Attributes:
        imported: number of images whose rating and tags were set.
        unknown: number of images that are not in the history. They were ignored.
    """

    imported: int
    unknown: int


def select_marks(entries: Iterable[HistoryEntry]) -> Iterator[ImageMarks]:
    """Yield the ratings and tags of the entries that have any."""
    for entry in entries:
        if entry.rating is not None or entry.tags:
            yield ImageMarks(entry.sha256, entry.path, entry.rating, entry.tags)


def parse_marks(data: bytes, name: str) -> list[ImageMarks]:
    """Return the ratings and tags of an exported file.

    Args:
        data: JSON lines; untrusted.
        name: quoted name of the file, for messages.

    Raises:
        InputFileError: the data is not UTF-8 text, or a line is not valid; the message contains the line.
    """
    try:
        lines = decode_text(data).splitlines()
    except ValueError as error:
        raise InputFileError(f"Cannot read {name}: {error}.", _HINT) from None
    return [_parse_line(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parse_line(line: str, name: str) -> ImageMarks:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise InputFileError(f"Cannot read {name}: {error}.", _HINT) from None
    try:
        return read_marks(value)
    except UsageError as error:
        raise InputFileError(f"Cannot read {name}: {error.message}", _HINT) from None


def read_marks(value: Any) -> ImageMarks:
    """Return the ratings and tags of a JSON object.

    Raises:
        UsageError: the value is not an object with the keys sha256, rating and tags.
    """
    sha256 = value.get("sha256") if isinstance(value, Mapping) else None
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UsageError("sha256 must be 64 hexadecimal digits.")
    rating, tags, path = value.get("rating"), value.get("tags", []), value.get("path", "")
    if rating is not None:
        check_rating(rating)
    if not isinstance(tags, list | tuple):
        raise UsageError("tags must be a list of texts.")
    return ImageMarks(sha256.lower(), Path(path if isinstance(path, str) else ""), rating, parse_tags(tags))


_HINT = "artgen history export -o marks.jsonl"
