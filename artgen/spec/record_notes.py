"""Describe the unknown fields of a record."""

from collections.abc import Iterable, Mapping
from typing import Any

from artgen._version import RECORD_SCHEMA, __version__
from artgen.spec.records import MAX_UNKNOWN_BYTES, kept_fields, recorded_schema, unknown_fields
from artgen.system.counts import counted

MAX_LISTED_NAME_CHARS = 40
MAX_LISTED_FIELDS = 8


def record_notes(record: Mapping[str, Any]) -> list[str]:
    """Return notes about a newer schema and about unknown fields of a valid record."""
    fields = unknown_fields(record)
    notes = [schema_note(recorded_schema(record)), unknown_fields_note(fields, len(fields) - len(kept_fields(fields)))]
    return [text for text in notes if text]


def schema_note(schema: int | None) -> str:
    """Return a note about a schema number that is newer than `RECORD_SCHEMA`, else an empty string."""
    if schema is None or schema <= RECORD_SCHEMA:
        return ""
    return (
        f"A newer version of artgen wrote the record: it has schema {schema}, and artgen {__version__} supports schema "
        f"{RECORD_SCHEMA}. The pixels may differ."
    )


def unknown_fields_note(names: Iterable[str], num_dropped: int = 0) -> str:
    """Return a note about unknown fields; an empty string if there are none.

    Args:
        names: names of all unknown fields.
        num_dropped: number of the fields that are not kept, because of their size or because they are not JSON.
    """
    listed = [name if len(name) <= MAX_LISTED_NAME_CHARS else f"{name[:MAX_LISTED_NAME_CHARS]}..." for name in names]
    if not listed:
        return ""
    hidden = len(listed) - MAX_LISTED_FIELDS
    more = f" and {hidden:,} more" if hidden > 0 else ""
    text = f"Unknown fields of the record have no effect and are kept: {', '.join(listed[:MAX_LISTED_FIELDS])}{more}."
    if num_dropped:
        limit = f"{MAX_UNKNOWN_BYTES >> 10} KiB"
        text += f" {counted(num_dropped, 'field is', 'fields are')} not kept: the limit is {limit} of JSON."
    return text
