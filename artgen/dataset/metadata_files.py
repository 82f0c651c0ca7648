"""`metadata.jsonl` and `provenance.jsonl`: one JSON object a line, each about a picture or several."""

import codecs
import fnmatch
import json
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.dataset.types import relative_name

FILE_NAME_KEY = "file_name"

ALLOWED_KEYS: dict[str, tuple[str, ...]] = {
    "metadata.jsonl": ("text",),
    "provenance.jsonl": ("source", "author", "licence", "consent", "text"),
}
"""What a line may say beside the file's name; `metadata.jsonl` as Hugging Face's `imagefolder` writes it."""

_KEY_ALIASES = {"license": "licence"}
_WILDCARD_CHARS = frozenset("*?")


@dataclass
class MetadataTable:
    """What the tables of one name say, by picture.

    Attributes:
        exact_rows: a picture's name -> its line.
        pattern_rows: patterns of names, such as `*` or `roses/*.jpg`, and their line.
        locations: a name or pattern -> the file and line that has it.
        errors: file, line and what is wrong.
        unknown_keys: keys that mean nothing here -> how often they came.
    """

    exact_rows: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pattern_rows: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    locations: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    unknown_keys: Counter[str] = field(default_factory=Counter)

    def row_for(self, name: str) -> Mapping[str, str] | None:
        """What is said of a picture: under its own name, else under the first pattern that fits it."""
        key = _normalize_name(name)
        if key in self.exact_rows:
            return self.exact_rows[key]
        return next((values for pattern, values in self.pattern_rows if fnmatch.fnmatchcase(key, pattern)), None)

    def missing_files(self, image_names: Iterable[str]) -> list[str]:
        """Names and patterns that no picture has, each with its file and line."""
        there = {_normalize_name(name) for name in image_names}
        missing = [name for name in self.exact_rows if name not in there]
        missing += [p for p, _ in self.pattern_rows if not any(fnmatch.fnmatchcase(name, p) for name in there)]
        return [f"{self.locations[name]}: '{name}'" for name in missing]


def read_metadata_table(files: Iterable[Path], folder: Path, file_name: str) -> MetadataTable:
    """All tables called `file_name` in a folder; names in a table are told from where it lies."""
    table = MetadataTable()
    # What lies deeper is nearer to its pictures, and is asked first.
    for path in sorted((p for p in files if p.name == file_name), key=lambda p: -len(p.parts)):
        _read_file(path, folder, table)
    return table


def _read_file(path: Path, folder: Path, table: MetadataTable) -> None:
    source = relative_name(path, folder)
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        table.errors.append(f"{source}: cannot be read: {error.strerror}")
        return
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        table.errors.append(f"{source}: is UTF-16; UTF-8 is wanted")
        return
    within = path.parent.relative_to(folder).as_posix()
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        where = f"{source}:{number}"
        try:
            name, values = _parse_line(raw, ALLOWED_KEYS[path.name], table.unknown_keys)
        except ValueError as error:
            table.errors.append(f"{where}: {error}")
            continue
        name = _normalize_name(posixpath.normpath(posixpath.join(within, name)))
        if name in table.locations:
            table.errors.append(f"{where}: '{name}' was spoken of already, in {table.locations[name]}")
            continue
        table.locations[name] = where
        if _WILDCARD_CHARS & set(name):
            table.pattern_rows.append((name, values))
        else:
            table.exact_rows[name] = values


def _parse_line(raw: bytes, allowed_keys: tuple[str, ...], unknown_keys: Counter[str]) -> tuple[str, dict[str, str]]:
    """A line's file name and what it says.

    Raises:
        ValueError: it is not JSON, no object, names no file, or a value is not text.
    """
    value = _parse_object(raw)
    name = value.pop(FILE_NAME_KEY, None)
    if not isinstance(name, str) or not name:
        raise ValueError(f'"{FILE_NAME_KEY}" is missing, the name of the picture')
    values: dict[str, str] = {}
    for key, item in value.items():
        known = _KEY_ALIASES.get(key, key)
        if known not in allowed_keys:
            unknown_keys[key] += 1
        elif isinstance(item, str):
            values[known] = " ".join(item.split())
        elif item is not None:
            raise ValueError(f'"{key}" must be text, not {json.dumps(item)[:40]}')
    return name, values


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte 0x{raw[error.start]:02x} at place {error.start + 1}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"one JSON object is wanted, not {type(value).__name__}")
    return value


def _normalize_name(name: str) -> str:
    # macOS writes names in another normal form than people type them.
    return unicodedata.normalize("NFC", name)
