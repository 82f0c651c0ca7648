"""Check values that are not settings of a group."""

from collections.abc import Mapping
from typing import Any

from artgen.errors import UsageError
from artgen.spec.fields import SettingFields, aliases_of, describe_value


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a value is one of some choices.

    Raises:
        UsageError: the value is not a choice.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {describe_value(value)}.")


def check_range(name: str, value: int, minimum: int, maximum: int) -> None:
    """Check that a value is an integer within inclusive limits.

    Raises:
        UsageError: the value is not an integer, or is outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise UsageError(f"{name} must be {minimum:,} to {maximum:,}, not {describe_value(value)}.")


def check_repeated_keys(values: Mapping[str, Any], fields: SettingFields) -> None:
    """Check that no setting has two keys in a file: `cfg_scale` and `guidance_scale`.

    Raises:
        UsageError: two keys have the same meaning.
    """
    aliases = aliases_of(fields)
    seen: dict[str, str] = {}
    for key in values:
        dashed = key.replace("-", "_")
        name = aliases[dashed].setting if dashed in aliases and dashed not in fields else dashed
        if name in seen:
            raise UsageError(f"{seen[name]} and {key} are the same setting.", f"Keep {name}.", settings=(key,))
        seen[name] = key
