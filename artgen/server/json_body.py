"""Parse the JSON of requests. A small text can contain millions of values, which need forty times its size."""

from typing import Any

from artgen.system.external_data import parse_json

MAX_SEPARATORS = 200_000
"""Largest number of commas and opening brackets, also in texts. Base64 contains none of them."""


def parse_json_body(data: bytes, *, unique_keys: bool = False) -> Any:
    """Return the value of a body; see `parse_json`.

    Raises:
        ValueError: the body is not valid UTF-8 or JSON, or contains too many values. The message is one readable reason
            without a full stop.
    """
    if sum(data.count(separator) for separator in (b",", b"[", b"{")) > MAX_SEPARATORS:
        raise ValueError(f"it has more than {MAX_SEPARATORS:,} commas and brackets")
    return parse_json(data, unique_keys=unique_keys)
