"""Check the settings that are a size or a time."""

from typing import Any

from artgen.spec import settings
from artgen.spec.memory_budget import parse_bytes


def check_quantity(name: str, value: Any) -> None:
    """Check the value of a setting that is a size or a time.

    Raises:
        UsageError: the value is not a size or a time, or is outside its limits.
    """
    if name == "cache_limit":
        parse_bytes(value, name)
    elif name == "keep_alive":
        settings.parse_keep_alive(value)
