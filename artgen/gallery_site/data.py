"""Convert the entry of an image to the JSON of the gallery: a summary for search and filters, and the details."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from artgen.errors import ArtgenError
from artgen.image_history.entry import HistoryEntry, lora_names
from artgen.spec.record_command import record_command, shell_text
from artgen.spec.records import PROVENANCE_FIELDS
from artgen.system.external_data import parse_json

ID_CHARS = 16
"""Number of hex digits of the hash of a file that identify an image of the gallery."""

MAX_TEXT_CHARS = 20_000
"""Limit of a text of the details."""

MAX_PARENTS = 64
"""Limit of the input files of one image."""

LARGE_FIELDS = ("mask_data", "parent_record")
"""Fields of a record that are not listed among the settings."""

_FACTS = PROVENANCE_FIELDS.keys() - {"task", "width", "height"}
"""Fields of a record that are not settings: hashes, versions and others."""

_INPUT_FIELDS = {
    "image": "input image",
    "mask": "mask",
    "reference": "reference image",
    "control": "control image",
    "image_prompt": "image prompt",
}
"""Settings that name input files, each with its name in the page. `NAME_sha256` in the record is the hash."""


class Parent(TypedDict):
    """Describe an input file of an image.

    Attributes:
        id: first `ID_CHARS` digits of the hash of the file; empty if unknown.
        role: use of the file, such as `input image`.
        name: recorded value of the setting: a file name without folders.
        key: `record_key` of the record of the input image, if it is recorded; else empty.
    """

    id: str
    role: str
    name: str
    key: str


@dataclass(frozen=True)
class Links:
    """Store the addresses of an image in the page. They are relative to the page.

    Attributes:
        id: identifier of the image, which its permalink contains.
        name: file name without folders.
        image: address of the original file; empty if it cannot be shown.
        thumbnail: address of the thumbnail; empty for a damaged file.
        source: argument of `artgen replay`: path of the file, or `history:ID`.
        frames: address of an animation or a folder of the intermediate steps; empty without.
        mask: address of the mask of `mask_text`; empty without.
        note: why the image or its record cannot be read; empty otherwise.
    """

    id: str
    name: str
    image: str
    thumbnail: str
    source: str
    frames: str = ""
    mask: str = ""
    note: str = ""


def image_id(sha256: str) -> str:
    """Return the identifier of an image by the SHA-256 of its file."""
    return sha256[:ID_CHARS]


def summarize(entry: HistoryEntry, links: Links) -> dict[str, Any]:
    """Return what search, filters, the grid and the lineage need. Empty values are left out."""
    values = {
        "id": links.id,
        "name": links.name,
        "thumbnail": links.thumbnail,
        "width": entry.width,
        "height": entry.height,
        "task": entry.task,
        "model": entry.model,
        "prompt": entry.prompt[:MAX_TEXT_CHARS],
        "negative": entry.negative_prompt[:MAX_TEXT_CHARS],
        "seed": None if entry.seed is None else str(entry.seed),  # JavaScript rounds integers above 2**53
        "made": entry.made_utc,
        "rating": entry.rating,
        "tags": list(entry.tags),
        "loras": _loras(entry.record),
        "parents": parents_of(entry),
        "key": record_key(entry.record),
        "note": links.note,
    }
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def describe(entry: HistoryEntry, links: Links) -> dict[str, Any]:
    """Return what the view of one image and the comparison need besides the summary."""
    texts = {
        name: _setting_text(value)
        for name, value in entry.record.items()
        if name not in LARGE_FIELDS and value not in (None, "", [])
    }
    values = {
        "id": links.id,
        "image": links.image,
        "frames": links.frames,
        "mask": links.mask,
        "seconds": entry.seconds,
        "settings": {name: text for name, text in texts.items() if name not in _FACTS},
        "facts": {name: text for name, text in texts.items() if name in _FACTS},
        "command": record_command(entry.record) if entry.record else "",
        "replay": _replay_command(links.source) if entry.record else "",
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def parents_of(entry: HistoryEntry) -> list[Parent]:
    """Return the input files of an image, without duplicates. The values of the record are untrusted."""
    found: dict[tuple[str, str], Parent] = {}
    for name, role in _INPUT_FIELDS.items():
        hashes = _texts(entry.record.get(f"{name}_sha256"))
        names = _texts(entry.record.get(name))
        for number in range(min(MAX_PARENTS, max(len(hashes), len(names)))):
            digest = image_id(hashes[number]) if number < len(hashes) else ""
            text = names[number] if number < len(names) else ""
            found.setdefault((digest, text), Parent(id=digest, role=role, name=text[:MAX_TEXT_CHARS], key=""))
    key = _parent_key(entry.record.get("parent_record"))
    parents = list(found.values())
    if key:
        first = parents[0] if parents else Parent(id="", role=_INPUT_FIELDS["image"], name="", key="")
        parents[:1] = [Parent(id=first["id"], role=first["role"], name=first["name"], key=key)]
    return parents


def record_key(record: Mapping[str, Any]) -> str:
    """Return a hash of a record, which is equal for copies of an image with other bytes; empty without a record."""
    kept = {name: value for name, value in record.items() if name not in LARGE_FIELDS}
    if not kept:
        return ""
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARS]


def _parent_key(text: object) -> str:
    if not isinstance(text, str):
        return ""
    try:
        record = parse_json(text)
    except ValueError:
        return ""
    return record_key(record) if isinstance(record, dict) else ""


def _loras(record: Mapping[str, Any]) -> list[str]:
    try:
        return lora_names(record)
    except ArtgenError:
        return []


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(each) for each in value] if isinstance(value, list) else []


def _setting_text(value: object) -> str:
    """Return a recorded value as a text for the page."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        text = "\n".join(str(each) for each in value)
    else:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}..."


def _replay_command(source: str) -> str:
    return shell_text(["artgen", "replay", *(["--"] if source.startswith("-") else []), source])
