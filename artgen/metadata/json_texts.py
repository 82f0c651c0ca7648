"""Read JSON objects from the metadata texts of other tools."""

import json
from collections.abc import Mapping

from artgen.system.external_data import parse_json


def json_object(texts: Mapping[str, str], *names: str) -> dict[str, object]:
    """Return the first of the named texts that is a JSON object; an empty dictionary if there is none.

    Numbers are finite, and values are nested at most `MAX_JSON_DEPTH` levels.
    """
    for name in names:
        text = texts.get(name, "")
        if text.lstrip("\ufeff \t\r\n").startswith("{"):
            try:
                value = parse_json(text)
            except ValueError:
                continue
            if isinstance(value, dict):
                return {str(key): item for key, item in value.items()}
    return {}


def is_json(text: str) -> bool:
    """Return whether a text is a JSON object or list. The numbers can be NaN."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return False
    try:
        json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return True


def text_value(value: object) -> str | None:
    """Return a text value, else None."""
    return value if isinstance(value, str) else None


def object_value(value: object) -> dict[str, object]:
    """Return a JSON object, else an empty dictionary."""
    return value if isinstance(value, dict) else {}


def list_value(value: object) -> list[object]:
    """Return a JSON list; a text such as `a, b` or `['a', 'b']` is split, and another value is an empty list."""
    if isinstance(value, str):
        parts = (part.strip(" '\"") for part in value.strip().removeprefix("[").removesuffix("]").split(","))
        return [part for part in parts if part]
    return value if isinstance(value, list) else []
