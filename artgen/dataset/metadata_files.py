"""Read `metadata.jsonl` and `provenance.jsonl`: one JSON object per line, for one image or a file-name pattern."""

import codecs
import fnmatch
import io
import json
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.dataset.types import relative_name
from artgen.errors import InputFileError
from artgen.system.external_data import parse_json, read_limited

MAX_METADATA_BYTES = 64 * 2**20

FILE_NAME_KEY = "file_name"

ALLOWED_KEYS: dict[str, tuple[str, ...]] = {
    "metadata.jsonl": ("text",),
    "provenance.jsonl": ("source", "author", "license", "consent", "text"),
}
"""Keys of a line except the file name. `metadata.jsonl` has the format of Hugging Face's `imagefolder`."""

_KEY_ALIASES = {"licence": "license"}
_WILDCARD_CHARS = frozenset("*?")


@dataclass
class MetadataTable:
    """Store the lines of all metadata files of one kind.

    Attributes:
        exact_rows: image name -> values of its line.
        pattern_rows: file-name patterns, such as `*` or `roses/*.jpg`, with the values of their lines.
        locations: image name or pattern -> file and line number.
        errors: messages with the file and the line number.
        unknown_keys: unknown keys with their numbers of occurrences.
    """

    exact_rows: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pattern_rows: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    locations: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    unknown_keys: Counter[str] = field(default_factory=Counter)

    def row_for(self, name: str) -> Mapping[str, str] | None:
        """Return the values for an image: from the line with its name, else from the first matching pattern."""
        key = _normalize_name(name)
        if key in self.exact_rows:
            return self.exact_rows[key]
        return next((values for pattern, values in self.pattern_rows if fnmatch.fnmatchcase(key, pattern)), None)

    def missing_files(self, image_names: Iterable[str]) -> list[str]:
        """Return the names and patterns that match no image, with their locations."""
        existing = {_normalize_name(name) for name in image_names}
        missing = [name for name in self.exact_rows if name not in existing]
        missing += [p for p, _ in self.pattern_rows if not any(fnmatch.fnmatchcase(name, p) for name in existing)]
        return [f"{self.locations[name]}: '{name}'" for name in missing]


def read_metadata_table(files: Iterable[Path], folder: Path, file_name: str) -> MetadataTable:
    """Read all files called `file_name`. The image names in a file are relative to the folder of this file."""
    table = MetadataTable()
    # Files in deeper folders are closer to their images and have priority.
    for path in sorted((p for p in files if p.name == file_name), key=lambda p: -len(p.parts)):
        _read_file(path, folder, table)
    return table


def _read_file(path: Path, folder: Path, table: MetadataTable) -> None:
    source = relative_name(path, folder)
    try:
        data = read_limited(path, MAX_METADATA_BYTES).removeprefix(codecs.BOM_UTF8)
    except InputFileError as error:
        table.errors.append(f"{source}: {error.message.removesuffix('.')}")
        return
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        table.errors.append(f"{source}: the encoding is UTF-16, not UTF-8")
        return
    parent = path.parent.relative_to(folder).as_posix()
    for number, raw in enumerate(io.BytesIO(data), 1):
        if not raw.strip():
            continue
        location = f"{source}:{number}"
        try:
            name, values = _parse_line(raw, ALLOWED_KEYS[path.name], table.unknown_keys)
        except ValueError as error:
            table.errors.append(f"{location}: {error}")
            continue
        name = _normalize_name(posixpath.normpath(posixpath.join(parent, name)))
        if name in table.locations:
            table.errors.append(f"{location}: '{name}' is also in {table.locations[name]}")
            continue
        table.locations[name] = location
        if _WILDCARD_CHARS & set(name):
            table.pattern_rows.append((name, values))
        else:
            table.exact_rows[name] = values


def _parse_line(raw: bytes, allowed_keys: tuple[str, ...], unknown_keys: Counter[str]) -> tuple[str, dict[str, str]]:
    """Return the file name and the values of a line.

    Raises:
        ValueError: the line is not a JSON object, has no file name, or contains a value that is not text.
    """
    value = _parse_object(raw)
    name = value.pop(FILE_NAME_KEY, None)
    if not isinstance(name, str) or not name:
        raise ValueError(f'"{FILE_NAME_KEY}", the name of the image, is missing')
    values: dict[str, str] = {}
    for key, item in value.items():
        canonical = _KEY_ALIASES.get(key, key)
        if canonical not in allowed_keys:
            unknown_keys[key] += 1
        elif isinstance(item, str):
            values[canonical] = " ".join(item.split())
        elif item is not None:
            raise ValueError(f'"{key}" must be text, not {json.dumps(item)[:40]}')
    return name, values


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        value = parse_json(raw.decode("utf-8"), unique_keys=True)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the line is not UTF-8 text: byte 0x{raw[error.start]:02x} in column {error.start + 1}"
        ) from None
    except ValueError as error:
        raise ValueError(f"the line cannot be parsed: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the line is not a JSON object but {type(value).__name__}")
    return value


def _normalize_name(name: str) -> str:
    # macOS stores file names in Unicode form NFD; keyboards produce NFC.
    return unicodedata.normalize("NFC", name)
