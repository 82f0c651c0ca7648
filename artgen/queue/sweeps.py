"""Parse sweeps and create an entry for each combination of their values."""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS, Entry, parse_text_value, setting_name
from artgen.spec.control import CONTROL_KEYS
from artgen.spec.image_prompt import IMAGE_PROMPT_KEYS
from artgen.spec.settings import describe_value, settings_of

MAX_COMBINATIONS = 100_000
_RANGE = re.compile(r"(-?[0-9.]+):(-?[0-9.]+)(?::([0-9.]+))?")
_CONTINUED = {
    "control": re.compile(rf"(?:{'|'.join(CONTROL_KEYS)})\s*=", re.IGNORECASE),
    "image_prompt": re.compile(rf"(?:{'|'.join(IMAGE_PROMPT_KEYS)})\s*=", re.IGNORECASE),
}
"""Begin of a text that continues the value before it, such as `scale=0.8`, for settings whose values have keys."""
_WITH_COLON = ("hires", "morph_seed")
"""Settings whose values can contain a colon between numbers. Such a value is not a range."""
_RANGE_HINT = "Use FIRST:LAST:STEP. 3:9:2 counts from 3 to 9 in steps of 2."


@dataclass(frozen=True)
class SweepAxis:
    """Store one setting and its values as text."""

    name: str
    values: tuple[str, ...]


def parse_axes(texts: Sequence[str]) -> list[SweepAxis]:
    """Parse the values of `--sweep steps=10,20 --sweep guidance=3:9:2`.

    Values are separated by commas; a value with a comma is in double quotes. `3:9:2` counts from 3 to 9 in steps of 2
    (default 1), both ends included. A key such as `scale=0.8` belongs to the control image or image prompt before it.

    Raises:
        UsageError: a setting is unknown, repeated or cannot be swept; a value is missing or has the wrong type; there
            are too many combinations.
    """
    axes: list[SweepAxis] = []
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not values.strip():
            raise UsageError(
                f"Cannot parse --sweep {describe_value(text)}: it is not NAME=VALUES.", "--sweep steps=10,20,30"
            )
        setting = setting_name(name)
        if setting == "task" or not settings_of(LINE_SETTINGS[setting])[setting].sweepable:
            raise UsageError(f"Cannot sweep {setting}: its value must be the same for all images.")
        if setting in {axis.name for axis in axes}:
            raise UsageError(f"Cannot sweep {setting} twice.", "Give all its values in one --sweep.")
        axes.append(SweepAxis(setting, tuple(_parse_values(setting, values))))
    check_combinations(axes)
    return axes


def check_combinations(axes: Sequence[SweepAxis]) -> None:
    """Check the number of combinations.

    Raises:
        UsageError: there are more than `MAX_COMBINATIONS`.
    """
    total = math.prod(len(axis.values) for axis in axes)
    if total > MAX_COMBINATIONS:
        raise UsageError(
            f"Cannot sweep {total:,} combinations: the maximum is {MAX_COMBINATIONS:,}.", "Use fewer values."
        )


def combinations(axes: Sequence[SweepAxis]) -> Iterator[tuple[str, ...]]:
    """Yield each combination of values; the last axis changes fastest. Without an axis, yield one empty tuple."""
    return itertools.product(*(axis.values for axis in axes))


def sweep_entries(axes: Sequence[SweepAxis], base_values: Mapping[str, Any]) -> list[Entry]:
    """Return one entry per combination; the last axis changes fastest.

    Raises:
        UsageError: a value is not valid for its setting.
    """
    entries = []
    for values in combinations(axes):
        swept = {axis.name: parse_text_value(axis.name, value) for axis, value in zip(axes, values, strict=True)}
        entries.append(Entry(combination_label(axes, values), 0, {**base_values, **swept}))
    return entries


def combination_label(axes: Sequence[SweepAxis], values: Sequence[str]) -> str:
    """Return the label of a combination: `steps=2, guidance_scale=3`. It is the source of its entry."""
    return ", ".join(f"{axis.name}={value}" for axis, value in zip(axes, values, strict=True))


def _parse_values(name: str, text: str) -> list[str]:
    parsed: list[str] = []
    try:
        parts = next(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"Cannot parse the values of {name}: {error}.", 'Put a value with a comma in double quotes: "a, b".'
        ) from None
    has_ranges = LINE_SETTINGS[name] is not LINE_SETTINGS["prompt"] and name not in _WITH_COLON
    for part in _join_keys(name, parts):
        if has_ranges and (bounds := _RANGE.fullmatch(part.strip())):
            parsed += _expand_range(part, *bounds.groups())
        else:
            parsed.append(part.strip())
    for value in parsed:
        parse_text_value(name, value)
    return list(dict.fromkeys(parsed))


def _join_keys(name: str, parts: Sequence[str]) -> list[str]:
    """Join each text that begins with a key of the setting to the value before it."""
    values: list[str] = []
    for part in parts:
        if values and name in _CONTINUED and _CONTINUED[name].match(part.strip()):
            values[-1] += f",{part.strip()}"
        else:
            values.append(part)
    return values


def _expand_range(text: str, first: str, last: str, step_text: str | None) -> list[str]:
    """Return the values of a range with decimal arithmetic: 0.1:0.5:0.1 has exactly five values."""
    try:
        low, high, step = Decimal(first), Decimal(last), Decimal(step_text or 1)
    except ArithmeticError as error:
        raise UsageError(f"Cannot parse the range {describe_value(text)}: it is not numeric.", _RANGE_HINT) from error
    if step <= 0 or high < low or (high - low) / step > MAX_COMBINATIONS:
        raise UsageError(f"Cannot use the range {describe_value(text)}: it is empty or too long.", _RANGE_HINT)
    return [str(low + step * i) for i in range(int((high - low) / step) + 1)]
