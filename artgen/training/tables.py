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

from artgen.training.findings import named

FILE = "file_name"

KEYS: dict[str, tuple[str, ...]] = {
    "metadata.jsonl": ("text",),
    "provenance.jsonl": ("source", "author", "licence", "consent", "text"),
}
"""What a line may say beside the file's name; `metadata.jsonl` as Hugging Face's `imagefolder` writes it."""

_OTHER_SPELLINGS = {"license": "licence"}
_WILD = frozenset("*?")


@dataclass
class Table:
    """What the tables of one name say, by picture.

    Attributes:
        exact: a picture's name -> its line.
        patterns: patterns of names, such as `*` or `roses/*.jpg`, and their line.
        where: a name or pattern -> the file and line that has it.
        mistakes: file, line and what is wrong.
        unknown: keys that mean nothing here -> how often they came.
    """

    exact: dict[str, Mapping[str, str]] = field(default_factory=dict)
    patterns: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> Mapping[str, str] | None:
        """What is said of a picture: under its own name, else under the first pattern that fits it."""
        key = _plain(name)
        if key in self.exact:
            return self.exact[key]
        return next((values for pattern, values in self.patterns if fnmatch.fnmatchcase(key, pattern)), None)

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Names and patterns that no picture has, each with its file and line."""
        there = {_plain(name) for name in names}
        missing = [name for name in self.exact if name not in there]
        missing += [p for p, _ in self.patterns if not any(fnmatch.fnmatchcase(name, p) for name in there)]
        return [f"{self.where[name]}: '{name}'" for name in missing]


def read(files: Iterable[Path], folder: Path, kind: str) -> Table:
    """All tables called `kind` in a folder; names in a table are told from where it lies."""
    table = Table()
    # What lies deeper is nearer to its pictures, and is asked first.
    for path in sorted((p for p in files if p.name == kind), key=lambda p: -len(p.parts)):
        _read(path, folder, table)
    return table


def _read(path: Path, folder: Path, table: Table) -> None:
    source = named(path, folder)
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        table.mistakes.append(f"{source}: cannot be read: {error.strerror}")
        return
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        table.mistakes.append(f"{source}: is UTF-16; UTF-8 is wanted")
        return
    within = path.parent.relative_to(folder).as_posix()
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        where = f"{source}:{number}"
        try:
            name, values = _line(raw, KEYS[path.name], table.unknown)
        except ValueError as error:
            table.mistakes.append(f"{where}: {error}")
            continue
        name = _plain(posixpath.normpath(posixpath.join(within, name)))
        if name in table.where:
            table.mistakes.append(f"{where}: '{name}' was spoken of already, in {table.where[name]}")
            continue
        table.where[name] = where
        if _WILD & set(name):
            table.patterns.append((name, values))
        else:
            table.exact[name] = values


def _line(raw: bytes, keys: tuple[str, ...], unknown: Counter[str]) -> tuple[str, dict[str, str]]:
    """A line's file name and what it says.

    Raises:
        ValueError: it is not JSON, no object, names no file, or a value is not text.
    """
    value = _object(raw)
    name = value.pop(FILE, None)
    if not isinstance(name, str) or not name:
        raise ValueError(f'"{FILE}" is missing, the name of the picture')
    values: dict[str, str] = {}
    for key, item in value.items():
        known = _OTHER_SPELLINGS.get(key, key)
        if known not in keys:
            unknown[key] += 1
        elif isinstance(item, str):
            values[known] = " ".join(item.split())
        elif item is not None:
            raise ValueError(f'"{key}" must be text, not {json.dumps(item)[:40]}')
    return name, values


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte 0x{raw[error.start]:02x} at place {error.start + 1}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"one JSON object is wanted, not {type(value).__name__}")
    return value


def _plain(name: str) -> str:
    # macOS writes names in another normal form than people type them.
    return unicodedata.normalize("NFC", name)
