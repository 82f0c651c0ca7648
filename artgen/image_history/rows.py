"""Convert entries of the history to rows of its tables, and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.image_history.entry import HistoryEntry, lora_names

ENTRY_SELECT = """
    SELECT image.id, sha256, path, made_utc, task, prompt, negative_prompt, model, model_hash, seed, width, height,
        seconds, record.json, parent, rating, (SELECT json_group_array(name) FROM tag WHERE image_id = image.id)
    FROM image JOIN record ON record.image_id = image.id
"""
"""Query of the columns that `to_entry` converts."""


def to_entry(row: tuple[Any, ...]) -> HistoryEntry:
    """Return the entry of a row of `ENTRY_SELECT`."""
    number, sha256, path, made_utc, *texts, seed, width, height, seconds, record, parent, rating, tags = row
    task, prompt, negative_prompt, model, model_hash = texts
    return HistoryEntry(
        number,
        sha256,
        decode_path(path),
        made_utc,
        task,
        prompt,
        negative_prompt,
        model,
        model_hash,
        None if seed is None else int(seed),
        width,
        height,
        seconds,
        json.loads(record),
        parent,
        rating,
        tuple(sorted(json.loads(tags))),
    )


def to_columns(entry: HistoryEntry, num_bytes: int) -> dict[str, Any]:
    """Return the values of the table `image` without `id` and `rating`.

    Args:
        entry: entry.
        num_bytes: size of the image file.
    """
    loras = [stored_text(name).lower() for name in lora_names(entry.record)]
    return {
        "sha256": entry.sha256,
        "path": encode_path(entry.path),
        "num_bytes": num_bytes,
        "made_utc": entry.made_utc,
        "task": stored_text(entry.task),
        "prompt": stored_text(entry.prompt),
        "negative_prompt": stored_text(entry.negative_prompt),
        "model": stored_text(entry.model),
        "model_hash": stored_text(entry.model_hash),
        "loras": "\n{}\n".format("\n".join(loras)) if loras else "",
        "seed": None if entry.seed is None else str(entry.seed),
        "width": entry.width,
        "height": entry.height,
        "seconds": entry.seconds,
        "parent": entry.parent,
    }


def record_json(record: Mapping[str, Any]) -> str:
    """Return a record as JSON in ASCII, which SQLite can store also if a text has unpaired surrogates."""
    return json.dumps(dict(record), separators=(",", ":"))


def stored_text(text: str) -> str:
    """Return a text that SQLite can store: unpaired surrogates and NUL are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def encode_path(path: Path) -> str:
    """Return an absolute path as text. A path that is not UTF-8 is written as JSON."""
    text = str(path)
    if text.isascii() or text.encode("utf-8", "replace").decode("utf-8") == text:
        return text
    return _ESCAPED + json.dumps(text)


def decode_path(text: str) -> Path:
    """Return the path of a text of `encode_path`."""
    return Path(json.loads(text[len(_ESCAPED) :])) if text.startswith(_ESCAPED) else Path(text)


_ESCAPED = "json:"
"""Prefix of a path that SQLite cannot store. Other paths are absolute, so they do not have this prefix."""
