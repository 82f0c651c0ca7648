"""Convert texts to values of settings."""

import re
from typing import Any

from artgen.errors import UsageError
from artgen.spec.control import split_controls
from artgen.spec.fields import (
    canonical_value,
    describe_type,
    describe_value,
    options_of,
    settings_of,
    type_of,
    unknown_setting_error,
)
from artgen.system.arguments import BOOLEAN_LITERALS

MAX_DIGITS = 18
"""Largest number of digits of a whole number in a text such as a shard. No setting of this kind has a larger limit."""


def parse_value(group: type, name: str, text: str) -> Any:
    """Convert a text, such as a table cell or the right side of `--set steps=50`, to a value of setting `name`.

    Raises:
        UsageError: the setting does not exist, or the text has another type.
    """
    if name not in options_of(group):
        raise UsageError(*unknown_setting_error(name, options_of(group), getattr(group, "task", "")))
    kind, optional = type_of(group, name)
    text = canonical_value(settings_of(group)[name], text)
    if optional and text == "":
        return None
    if name == "image_prompt" and not text.lstrip().startswith('"'):
        return (text,)
    if name == "control" and not text.lstrip().startswith('"'):
        return split_controls(text)
    if kind is tuple:
        import csv

        try:
            return tuple(next(csv.reader([text], skipinitialspace=True), ()))
        except csv.Error as error:
            raise UsageError(f"{name} must be values separated by commas: {error}.") from None
    if kind is bool:
        if text.casefold() not in BOOLEAN_LITERALS:
            raise UsageError(f"{name} must be true or false, not {describe_value(text)}.")
        return BOOLEAN_LITERALS[text.casefold()]
    try:
        return kind(text)
    except ValueError:  # also for an integer with thousands of digits
        hint = number_hint(kind, text)
        raise UsageError(f"{name} must be {describe_type(kind)}, not {describe_value(text)}.", hint) from None


def number_hint(kind: type, value: str) -> str:
    """Return a hint for a number with a decimal comma, a unit or a percent sign, or with decimals."""
    match = re.fullmatch(r"\s*(-?\d{1,15})(?:[.,](\d{1,15}))?\s*(%|[A-Za-z]{0,8})\s*", value)
    if match is None:
        return ""
    number = float(f"{match[1]}.{match[2] or 0}")
    if kind is int and "," in value:
        return ""
    if kind is float:
        return f"Did you mean {number / 100 if match[3] == '%' else number:g}?"
    return f"Did you mean {round(number)}?" if kind is int and match[3] != "%" else ""


def parse_whole_number(text: str) -> int | None:
    """Return the number that decimal digits represent; None for other text, and for more than `MAX_DIGITS` digits."""
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else None
