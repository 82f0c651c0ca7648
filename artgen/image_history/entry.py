"""Define an entry of the history, and create it from the record of an image."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.spec.lora import parse_lora

MIN_RATING = 1
MAX_RATING = 5


@dataclass(frozen=True)
class HistoryEntry:
    """Describe one generated image.

    Except for `id`, `rating` and `tags`, all values can be read from the image file again.

    Attributes:
        id: number of the entry, >= 1. Numbers are never used twice. 0: the entry is not in the history yet.
        sha256: SHA-256 of the image file, 64 hex digits. The history has one entry per hash.
        path: absolute path of the image file when it was saved or scanned. The file can be moved or deleted since.
        made_utc: modification time of the file, `YYYY-MM-DDTHH:MM:SS.ffffffZ`. Times in this form sort as texts.
        task: task, such as `txt2img`; empty if the image does not contain it.
        prompt: prompt; may be empty.
        negative_prompt: negative prompt; may be empty.
        model: name of the model, as in the record; may be empty.
        model_hash: SHA-256 of the weights, or a shorter hash of another tool; may be empty.
        seed: random seed, or None.
        width: width of the file in pixels.
        height: height of the file in pixels.
        seconds: duration of the generation in seconds, or None if it is unknown.
        record: record in the image, or the values that another tool wrote, see `artgen.metadata.ImageMetadata.values`.
        parent: SHA-256 of the input image file of img2img and others, or of the image of a variation; else None.
        rating: 1 to 5, or None.
        tags: tags, sorted.
    """

    id: int
    sha256: str
    path: Path
    made_utc: str
    task: str
    prompt: str
    negative_prompt: str
    model: str
    model_hash: str
    seed: int | None
    width: int
    height: int
    seconds: float | None
    record: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    rating: int | None = None
    tags: tuple[str, ...] = ()


def create_entry(
    path: Path,
    sha256: str,
    record: Mapping[str, Any],
    size: tuple[int, int],
    seconds: float | None = None,
) -> HistoryEntry:
    """Return the entry of an existing image file, with `id` 0.

    Args:
        path: image file.
        sha256: SHA-256 of the file.
        record: untrusted record of the file, or the values of another tool.
        size: width and height of the file in pixels.
        seconds: duration of the generation in seconds, or None.

    Raises:
        OSError: the modification time of the file cannot be read.
    """
    seed = record.get("seed")
    return HistoryEntry(
        0,
        sha256,
        path.absolute(),
        utc_text(path.stat().st_mtime_ns),
        _text(record, "task"),
        _text(record, "prompt"),
        _text(record, "negative_prompt"),
        _text(record, "model"),
        _text(record, "model_hash"),
        seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        *size,
        None if seconds is None else round(seconds, 3),
        record,
        _text(record, "image_sha256") or _text(record, "variation_of") or None,
    )


UTC_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""Form of `HistoryEntry.made_utc`, whose order as text is the order of the times."""


def utc_text(time_ns: int) -> str:
    """Return a time as `YYYY-MM-DDTHH:MM:SS.ffffffZ`.

    Args:
        time_ns: nanoseconds since 1970-01-01 UTC.
    """
    time = datetime.fromtimestamp(time_ns // 10**9, UTC).replace(microsecond=time_ns // 1000 % 10**6)
    return time.strftime(UTC_FORMAT)


def lora_names(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the LoRAs of a record, without scales and folders."""
    loras = record.get("lora")
    names = []
    for text in loras if isinstance(loras, list) else []:
        with contextlib.suppress(UsageError):  # the record is untrusted
            names.append(parse_lora(str(text)).file_name)
    return names


def _text(record: Mapping[str, Any], name: str) -> str:
    """Return a text of a record; an empty text if the value has another type."""
    value = record.get(name)
    return value if isinstance(value, str) else ""
