"""Read the record of an input image for the record of the result."""

import json
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError

MAX_PARENT_BYTES = 16 << 10
"""Limit of the recorded text, so that it fits into the metadata of JPEG."""

_LARGE_FIELDS = ("parent_record", "mask_data")
"""Fields that are removed, in this order, if the record is too long."""


def parent_record(path: Path) -> str:
    """Return the record of an image as JSON text; empty if the image has no record, or if the record is too long."""
    try:
        record: dict[str, Any] = dict(metadata.read_metadata(path).record or {})
    except (ArtgenError, OSError):
        return ""
    for name in ("", *_LARGE_FIELDS):
        record.pop(name, None)
        text = json.dumps(record, ensure_ascii=False)
        if len(text.encode("utf-8", "replace")) <= MAX_PARENT_BYTES:
            return text if record else ""
    return ""
