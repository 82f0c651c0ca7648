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

from artgen.dataset.types import Dataset, TrainingImage
from artgen.system.files import write_atomically

FORMAT_VERSION = 1
UNKNOWN_VALUE = "not said"
"""Stands for a licence, source, author or consent that nobody stated."""


@dataclass(frozen=True)
class Datasheet:
    """What was written: the text, the JSON beside it, and the SHA-256 of the JSON, 64 hex digits."""

    markdown_path: Path
    json_path: Path
    sha256: str


def write_datasheet(dataset: Dataset, path: Path, *, run_info: Mapping[str, Any]) -> Datasheet:
    """Write `datasheet.md` and, under the same name, `datasheet.json`; both are replaced where they exist.

    Args:
        dataset: what was read.
        path: of the Markdown file.
        run_info: what else there is to say, in order: JSON values by name (model, resolution, trigger ...).

    Raises:
        OutputError: a file cannot be written.
    """
    text = json.dumps(datasheet_record(dataset, run_info), indent=2, ensure_ascii=True) + "\n"
    data = path.with_suffix(".json")
    write_atomically(data, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomically(path, "\n".join(_markdown_lines(dataset, run_info, data.name, digest)) + "\n")
    return Datasheet(path, data, digest)


def datasheet_record(dataset: Dataset, run_info: Mapping[str, Any]) -> dict[str, Any]:
    """The datasheet as JSON values; the same collection gives the same ones."""
    return {
        "version": FORMAT_VERSION,
        "about": dict(run_info),
        "pictures": len(dataset.images),
        "licences": dict(_count_values(dataset, "licence")),
        "authors": dict(_count_values(dataset, "author")),
        "sources": dict(_count_values(dataset, "source")),
        "consents": dict(_count_values(dataset, "consent")),
        "folders": dict(Counter(each.folder or "" for each in dataset.images).most_common()),
        "duplicates": [list(names) for names in dataset.duplicate_groups],
        "rejected": [asdict(each) for each in dataset.rejected],
        "notes": list(dataset.notes),
        "examples": [_image_entry(each) for each in dataset.images],
    }


def _image_entry(image: TrainingImage) -> dict[str, Any]:
    return {
        "name": image.name,
        "sha256": image.sha256,
        "fingerprint": f"{image.phash:016x}",
        "width": image.width,
        "height": image.height,
        "caption": image.caption,
        "provenance": asdict(image.provenance) if image.provenance else None,
        "notes": list(image.notes),
    }


def _count_values(dataset: Dataset, field_name: str) -> list[tuple[str, int]]:
    values = (getattr(each.provenance, field_name, None) or UNKNOWN_VALUE for each in dataset.images)
    return Counter(values).most_common()


def _markdown_lines(dataset: Dataset, run_info: Mapping[str, Any], json_name: str, digest: str) -> Iterator[str]:
    examples = dataset.images
    yield from ("# Datasheet of the training pictures", "")
    yield from (f"{len(examples):,} pictures; each file with its hash, caption and source is in `{json_name}`", "")
    yield from (f"(SHA-256 `{digest}`).", "")
    yield from _markdown_table(("", ""), [(key, _format_value(value)) for key, value in run_info.items()])
    yield from ("## Motivation", "", "Why these pictures were chosen, and by whom: not said by the folder.", "")
    yield from ("## Composition", "")
    yield from _composition_section(dataset)
    yield from ("## Collection process", "", "As `provenance.jsonl` states it; nothing of it was checked.", "")
    for what in ("licence", "author", "source", "consent"):
        yield from _markdown_table(
            (what, "pictures"), [(_escape_markdown(name), f"{n:,}") for name, n in _count_values(dataset, what)]
        )
    yield from ("## Preprocessing and cleaning", "")
    yield from _cleaning_section(dataset)
    yield from ("## Uses, distribution, maintenance", "")
    yield "The pictures are not part of what was trained, but a trained model can come close to repeating those that it"
    yield "saw often. Before passing it on, look whether the licences above allow that."
    yield ""


def _composition_section(dataset: Dataset) -> Iterator[str]:
    examples = dataset.images
    sides = sorted(min(each.width, each.height) for each in examples)
    words = sorted(len(each.caption.split()) for each in examples)
    yield f"- shorter side: {sides[0]:,} to {sides[-1]:,} pixels, median {statistics.median(sides):,.0f}"
    yield f"- captions: {words[0]} to {words[-1]} words, {len({each.caption for each in examples}):,} different ones"
    yield f"- the same to the eye: {_format_duplicates(dataset)}"
    yield ""
    folders = Counter(each.folder or "(top)" for each in examples).most_common()
    yield from _markdown_table(
        ("folder", "pictures"), [(_escape_markdown(name), f"{count:,}") for name, count in folders]
    )
    noted = [(_escape_markdown(each.name), _escape_markdown("; ".join(each.notes))) for each in examples if each.notes]
    yield from _markdown_table(("picture", "note"), noted)


def _cleaning_section(dataset: Dataset) -> Iterator[str]:
    yield from ("Pictures are turned upright, converted to RGB in sRGB, transparency laid over white.", "")
    yield f"{len(dataset.rejected):,} files were left out."
    yield ""
    yield from _markdown_table(
        ("file", "why"), [(_escape_markdown(each.name), _escape_markdown(each.reason)) for each in dataset.rejected]
    )
    yield from (f"- {_escape_markdown(text)}" for text in dataset.notes)
    yield ""


def _format_duplicates(dataset: Dataset) -> str:
    if not dataset.duplicate_groups:
        return "none found"
    count = len(dataset.duplicate_groups)
    names = "; ".join(_escape_markdown(", ".join(group)) for group in dataset.duplicate_groups)
    return f"{count:,} group{'s' if count > 1 else ''}: {names}"


def _markdown_table(header: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield from (f"| {header[0]} | {header[1]} |", "|---|---|")
        yield from (f"| {first} | {second} |" for first, second in rows)
        yield ""


def _format_value(value: object) -> str:
    return _escape_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _escape_markdown(text: str) -> str:
    """Text from elsewhere, as it can stand in a table: no line breaks, no markup."""
    from artgen.system.terminal import printable

    plain = printable(text).replace("\\", "\\\\")
    for sign in "|`*_<>[]#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
