"""Write a datasheet of the training images as Markdown and JSON.

Gebru et al., "Datasheets for Datasets", Communications of the ACM 64(12), 2021, arXiv 1803.09010: the sections of the
paper in the same order. Facts that the folder does not contain are marked as not stated.
"""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from artgen.dataset.types import Dataset, Provenance, TrainingImage
from artgen.system.counts import counted
from artgen.system.files import write_atomically

FORMAT_VERSION = 1
UNKNOWN_VALUE = "not stated"
"""Value of a missing license, source, author or consent."""


@dataclass(frozen=True)
class Datasheet:
    """Store the paths of a written datasheet and the SHA-256 of its JSON file, 64 hex digits."""

    markdown_path: Path
    json_path: Path
    sha256: str


def write_datasheet(dataset: Dataset, path: Path, *, run_info: Mapping[str, Any]) -> Datasheet:
    """Write a Markdown file and a JSON file with the same stem. Existing files are replaced.

    Args:
        dataset: the data set.
        path: path of the Markdown file.
        run_info: facts of the training, JSON values by name (model, resolution, trigger ...), in display order.

    Raises:
        OutputError: a file cannot be written.
    """
    text = json.dumps(datasheet_record(dataset, run_info), indent=2, ensure_ascii=True) + "\n"
    json_path = path.with_suffix(".json")
    write_atomically(json_path, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomically(path, "\n".join(_markdown_lines(dataset, run_info, json_path.name, digest)) + "\n")
    return Datasheet(path, json_path, digest)


def datasheet_record(dataset: Dataset, run_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the datasheet as JSON values. The result depends only on the arguments."""
    return {
        "version": FORMAT_VERSION,
        "about": dict(run_info),
        "images": len(dataset.images),
        "licenses": license_counts(dataset),
        "authors": dict(_count_values(dataset, "author")),
        "sources": dict(_count_values(dataset, "source")),
        "consents": dict(_count_values(dataset, "consent")),
        "folders": dict(Counter(each.folder or "" for each in dataset.images).most_common()),
        "duplicates": [list(names) for names in dataset.duplicate_groups],
        "rejected": [asdict(each) for each in dataset.rejected],
        "notes": list(dataset.notes),
        "examples": [_image_entry(each) for each in dataset.images],
    }


def license_counts(dataset: Dataset) -> dict[str, int]:
    """Return the number of images of each license, most frequent first; the key `not stated` is a missing license."""
    return dict(_count_values(dataset, "license"))


def _image_entry(image: TrainingImage) -> dict[str, Any]:
    return {
        "name": image.name,
        "sha256": image.sha256,
        "fingerprint": f"{image.phash:016x}",
        "width": image.width,
        "height": image.height,
        "caption": image.caption,
        "provenance": _provenance_record(image.provenance) if image.provenance else None,
        "notes": list(image.notes),
    }


def _provenance_record(provenance: Provenance) -> dict[str, str | None]:
    """Return a provenance as JSON values. The key of the license is `licence` in the file format."""
    return {
        "source": provenance.source,
        "author": provenance.author,
        "licence": provenance.license,
        "consent": provenance.consent,
    }


def _count_values(dataset: Dataset, field_name: str) -> list[tuple[str, int]]:
    values = (getattr(each.provenance, field_name, None) or UNKNOWN_VALUE for each in dataset.images)
    return Counter(values).most_common()


def _markdown_lines(dataset: Dataset, run_info: Mapping[str, Any], json_name: str, digest: str) -> Iterator[str]:
    yield from ("# Datasheet of the training images", "")
    yield f"The data set has {counted(len(dataset.images), 'image')}. `{json_name}` (SHA-256 `{digest}`)"
    yield from ("lists the hash, caption and source of each image.", "")
    yield from _markdown_table(("", ""), [(key, _format_value(value)) for key, value in run_info.items()])
    yield from ("## Motivation", "", "The folder does not state who selected the images, and why.", "")
    yield from ("## Composition", "")
    yield from _composition_section(dataset)
    yield from ("## Collection process", "", "The values are from `provenance.jsonl`. They were not verified.", "")
    for field_name in ("license", "author", "source", "consent"):
        counts = _count_values(dataset, field_name)
        rows = [(_escape_markdown(name), f"{count:,}") for name, count in counts]
        yield from _markdown_table((field_name, "images"), rows)
    yield from ("## Preprocessing and cleaning", "")
    yield from _cleaning_section(dataset)
    yield from ("## Uses, distribution, maintenance", "")
    yield "The result does not contain the images. However, a trained model can nearly reproduce images that it was"
    yield "often trained on. Check that the licenses above permit the distribution of the result."
    yield ""


def _composition_section(dataset: Dataset) -> Iterator[str]:
    images = dataset.images
    sides = sorted(min(image.width, image.height) for image in images)
    lengths = sorted(len(image.caption.split()) for image in images)
    distinct = len({image.caption for image in images})
    yield f"- shorter side: {sides[0]:,} to {sides[-1]:,} pixels, median {statistics.median(sides):,.0f}"
    yield f"- captions: {lengths[0]} to {lengths[-1]} words, {counted(distinct, 'distinct caption')}"
    yield f"- duplicates: {_format_duplicates(dataset)}"
    yield ""
    folders = Counter(image.folder or "(top)" for image in images).most_common()
    yield from _markdown_table(
        ("folder", "images"), [(_escape_markdown(name), f"{count:,}") for name, count in folders]
    )
    notes = [(_escape_markdown(each.name), _escape_markdown("; ".join(each.notes))) for each in images if each.notes]
    yield from _markdown_table(("image", "note"), notes)


def _cleaning_section(dataset: Dataset) -> Iterator[str]:
    yield from ("Images are rotated upright, converted to sRGB, and composited over white if they are transparent.", "")
    yield f"{counted(len(dataset.rejected), 'file was', 'files were')} rejected."
    yield ""
    yield from _markdown_table(
        ("file", "reason"), [(_escape_markdown(each.name), _escape_markdown(each.reason)) for each in dataset.rejected]
    )
    yield from (f"- {_escape_markdown(text)}" for text in dataset.notes)
    yield ""


def _format_duplicates(dataset: Dataset) -> str:
    if not dataset.duplicate_groups:
        return "none"
    names = "; ".join(_escape_markdown(", ".join(group)) for group in dataset.duplicate_groups)
    return f"{counted(len(dataset.duplicate_groups), 'group')}: {names}"


def _markdown_table(header: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield from (f"| {header[0]} | {header[1]} |", "|---|---|")
        yield from (f"| {first} | {second} |" for first, second in rows)
        yield ""


def _format_value(value: object) -> str:
    return _escape_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _escape_markdown(text: str) -> str:
    """Escape untrusted text for a Markdown table: remove line breaks and markup."""
    from artgen.system.terminal import printable

    plain = printable(text).replace("\\", "\\\\")
    for character in "|`*_<>[]#":
        plain = plain.replace(character, f"\\{character}")
    return plain
