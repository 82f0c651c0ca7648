"""Sweeps: every combination of the values to try."""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS, Entry, parse_text_value, setting_name
from artgen.spec.settings import settings_of

MAX_COMBINATIONS = 100_000
_RANGE = re.compile(r"(-?[0-9.]+):(-?[0-9.]+)(?::([0-9.]+))?")


@dataclass(frozen=True)
class SweepAxis:
    """One setting and the values to try, as they were typed."""

    name: str
    values: tuple[str, ...]


def parse_axes(texts: Sequence[str]) -> list[SweepAxis]:
    """The axes of `--sweep steps=10,20 --sweep guidance=3:9:2`.

    Values are separated by commas; one that holds a comma stands in double quotes. `3:9:2` counts from 3 to 9 in
    steps of 2 (of 1 when not said), both ends included.

    Raises:
        UsageError: an unknown setting, one given twice, no values, a value of the wrong type, or too many combinations.
    """
    axes: list[SweepAxis] = []
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not values.strip():
            raise UsageError(f"--sweep takes NAME=VALUES, not {text!r}.", "--sweep steps=10,20,30")
        setting = setting_name(name)
        if setting == "task" or not settings_of(LINE_SETTINGS[setting])[setting].sweepable:
            raise UsageError(f"{setting} cannot be swept.")
        if setting in {axis.name for axis in axes}:
            raise UsageError(f"{setting} is swept twice.", "Give all its values in one --sweep.")
        axes.append(SweepAxis(setting, tuple(_parse_values(setting, values))))
    total = 1
    for axis in axes:
        total *= len(axis.values)
    if total > MAX_COMBINATIONS:
        raise UsageError(f"These sweeps have {total:,} combinations; {MAX_COMBINATIONS:,} is the most.")
    return axes


def combinations(axes: Sequence[SweepAxis]) -> Iterator[tuple[str, ...]]:
    """The values of all axes together, the last axis running fastest; one without any when there is no axis."""
    return itertools.product(*(axis.values for axis in axes))


def sweep_entries(axes: Sequence[SweepAxis], base_values: Mapping[str, Any]) -> list[Entry]:
    """One entry for each combination, the last axis running fastest.

    Raises:
        UsageError: a value that its setting does not take.
    """
    found = []
    for values in combinations(axes):
        tried = {axis.name: parse_text_value(axis.name, value) for axis, value in zip(axes, values, strict=True)}
        found.append(Entry(_combination_label(axes, values), 0, {**base_values, **tried}))
    return found


def _combination_label(axes: Sequence[SweepAxis], values: Sequence[str]) -> str:
    return ", ".join(f"{axis.name}={value}" for axis, value in zip(axes, values, strict=True))


def _parse_values(name: str, text: str) -> list[str]:
    found: list[str] = []
    for part in next(csv.reader([text], skipinitialspace=True)):
        if LINE_SETTINGS[name] is not LINE_SETTINGS["prompt"] and (counted := _RANGE.fullmatch(part.strip())):
            found += _expand_range(part, *counted.groups())
        else:
            found.append(part.strip())
    for value in found:
        parse_text_value(name, value)
    return list(dict.fromkeys(found))


def _expand_range(text: str, first: str, last: str, step_text: str | None) -> list[str]:
    """Exactly, as one would on paper: 0.1:0.5:0.1 has five values."""
    try:
        low, high, step = Decimal(first), Decimal(last), Decimal(step_text or 1)
    except ArithmeticError as error:
        raise UsageError(f"{text!r} is no range.", "3:9:2 counts from 3 to 9 in steps of 2.") from error
    if step <= 0 or high < low or (high - low) / step > MAX_COMBINATIONS:
        raise UsageError(f"{text!r} is no range.", "3:9:2 counts from 3 to 9 in steps of 2.")
    return [str(low + step * i) for i in range(int((high - low) / step) + 1)]
