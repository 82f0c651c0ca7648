"""What was learnt from, written beside what came of it: a datasheet to read, and the same as JSON.

After Gebru et al., "Datasheets for Datasets", Communications of the ACM 64(12), 2021, arXiv 1803.09010: its questions
in its order, answered as far as the folder says; what it does not say is said to be unknown.
"""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from artgen.files import write_atomically
from artgen.training.findings import Collection, Example

VERSION = 1
UNKNOWN = "not said"
"""Stands for a licence, source, author or consent that nobody stated."""


@dataclass(frozen=True)
class Datasheet:
    """What was written: the text, the JSON beside it, and the SHA-256 of the JSON, 64 hex digits."""

    path: Path
    data: Path
    sha256: str


def write(collection: Collection, path: Path, *, about: Mapping[str, Any]) -> Datasheet:
    """Write `datasheet.md` and, under the same name, `datasheet.json`; both are replaced where they exist.

    Args:
        collection: what was read.
        path: of the Markdown file.
        about: what else there is to say, in order: JSON values by name (model, resolution, trigger ...).

    Raises:
        OutputError: a file cannot be written.
    """
    text = json.dumps(facts(collection, about), indent=2, ensure_ascii=True) + "\n"
    data = path.with_suffix(".json")
    write_atomically(data, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomically(path, "\n".join(_lines(collection, about, data.name, digest)) + "\n")
    return Datasheet(path, data, digest)


def facts(collection: Collection, about: Mapping[str, Any]) -> dict[str, Any]:
    """The datasheet as JSON values; the same collection gives the same ones."""
    return {
        "version": VERSION,
        "about": dict(about),
        "pictures": len(collection.examples),
        "licences": dict(_stated(collection, "licence")),
        "authors": dict(_stated(collection, "author")),
        "sources": dict(_stated(collection, "source")),
        "consents": dict(_stated(collection, "consent")),
        "folders": dict(Counter(each.folder or "" for each in collection.examples).most_common()),
        "duplicates": [list(names) for names in collection.duplicates],
        "rejected": [asdict(each) for each in collection.rejected],
        "notes": list(collection.notes),
        "examples": [_entry(each) for each in collection.examples],
    }


def _entry(each: Example) -> dict[str, Any]:
    return {
        "name": each.name,
        "sha256": each.sha256,
        "fingerprint": f"{each.fingerprint:016x}",
        "width": each.width,
        "height": each.height,
        "caption": each.caption,
        "provenance": asdict(each.provenance) if each.provenance else None,
        "notes": list(each.notes),
    }


def _stated(collection: Collection, what: str) -> list[tuple[str, int]]:
    values = (getattr(each.provenance, what, None) or UNKNOWN for each in collection.examples)
    return Counter(values).most_common()


def _lines(collection: Collection, about: Mapping[str, Any], data: str, digest: str) -> Iterator[str]:
    examples = collection.examples
    yield from ("# Datasheet of the training pictures", "")
    yield from (f"{len(examples):,} pictures; each file with its hash, caption and source is in `{data}`", "")
    yield from (f"(SHA-256 `{digest}`).", "")
    yield from _table(("", ""), [(key, _shown(value)) for key, value in about.items()])
    yield from ("## Motivation", "", "Why these pictures were chosen, and by whom: not said by the folder.", "")
    yield from ("## Composition", "")
    yield from _composition(collection)
    yield from ("## Collection process", "", "As `provenance.jsonl` states it; nothing of it was checked.", "")
    for what in ("licence", "author", "source", "consent"):
        yield from _table((what, "pictures"), [(_cell(name), f"{n:,}") for name, n in _stated(collection, what)])
    yield from ("## Preprocessing and cleaning", "")
    yield from _cleaning(collection)
    yield from ("## Uses, distribution, maintenance", "")
    yield "The pictures are not part of what was trained, but a trained model can come close to repeating those that it"
    yield "saw often. Before passing it on, look whether the licences above allow that."
    yield ""


def _composition(collection: Collection) -> Iterator[str]:
    examples = collection.examples
    sides = sorted(min(each.width, each.height) for each in examples)
    words = sorted(len(each.caption.split()) for each in examples)
    yield f"- shorter side: {sides[0]:,} to {sides[-1]:,} pixels, median {statistics.median(sides):,.0f}"
    yield f"- captions: {words[0]} to {words[-1]} words, {len({each.caption for each in examples}):,} different ones"
    yield f"- the same to the eye: {_groups(collection)}"
    yield ""
    folders = Counter(each.folder or "(top)" for each in examples).most_common()
    yield from _table(("folder", "pictures"), [(_cell(name), f"{count:,}") for name, count in folders])
    noted = [(_cell(each.name), _cell("; ".join(each.notes))) for each in examples if each.notes]
    yield from _table(("picture", "note"), noted)


def _cleaning(collection: Collection) -> Iterator[str]:
    yield from ("Pictures are turned upright, converted to RGB in sRGB, transparency laid over white.", "")
    yield f"{len(collection.rejected):,} files were left out."
    yield ""
    yield from _table(("file", "why"), [(_cell(each.name), _cell(each.reason)) for each in collection.rejected])
    yield from (f"- {_cell(text)}" for text in collection.notes)
    yield ""


def _groups(collection: Collection) -> str:
    if not collection.duplicates:
        return "none found"
    count = len(collection.duplicates)
    names = "; ".join(_cell(", ".join(group)) for group in collection.duplicates)
    return f"{count:,} group{'s' if count > 1 else ''}: {names}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield from (f"| {head[0]} | {head[1]} |", "|---|---|")
        yield from (f"| {first} | {second} |" for first, second in rows)
        yield ""


def _shown(value: object) -> str:
    return _cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cell(text: str) -> str:
    """Text from elsewhere, as it can stand in a table: no line breaks, no markup."""
    from artgen.terminal import printable

    plain = printable(text).replace("\\", "\\\\")
    for sign in "|`*_<>[]#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
