"""Sweeps: every combination of the values to try."""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from artgen.batch.entries import PER_LINE, Entry, canonical, from_text
from artgen.errors import UsageError

MAX_COMBINATIONS = 100_000
_RANGE = re.compile(r"(-?[0-9.]+):(-?[0-9.]+)(?::([0-9.]+))?")
_NOT_SWEPT = frozenset({"task", "output", "format", "quality", "png_level", "metadata", "count", "offline", "device"})


@dataclass(frozen=True)
class Axis:
    """One setting and the values to try, as they were typed."""

    name: str
    values: tuple[str, ...]


def parse_axes(texts: Sequence[str]) -> list[Axis]:
    """The axes of `--sweep steps=10,20 --sweep guidance=3:9:2`.

    Values are separated by commas; one that holds a comma stands in double quotes. `3:9:2` counts from 3 to 9 in
    steps of 2 (of 1 when not said), both ends included.

    Raises:
        UsageError: an unknown setting, one given twice, no values, a value of the wrong type, or too many combinations.
    """
    axes: list[Axis] = []
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not values.strip():
            raise UsageError(f"--sweep takes NAME=VALUES, not {text!r}.", "--sweep steps=10,20,30")
        setting = canonical(name)
        if setting in _NOT_SWEPT:
            raise UsageError(f"{setting} cannot be swept.")
        if setting in {axis.name for axis in axes}:
            raise UsageError(f"{setting} is swept twice.", "Give all its values in one --sweep.")
        axes.append(Axis(setting, tuple(_values(setting, values))))
    total = 1
    for axis in axes:
        total *= len(axis.values)
    if total > MAX_COMBINATIONS:
        raise UsageError(f"These sweeps have {total:,} combinations; {MAX_COMBINATIONS:,} is the most.")
    return axes


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    """The values of all axes together, the last axis running fastest; one without any when there is no axis."""
    return itertools.product(*(axis.values for axis in axes))


def entries(axes: Sequence[Axis], given: Mapping[str, Any]) -> list[Entry]:
    """One entry for each combination, the last axis running fastest.

    Raises:
        UsageError: a value that its setting does not take.
    """
    found = []
    for values in combinations(axes):
        tried = {axis.name: from_text(axis.name, value) for axis, value in zip(axes, values, strict=True)}
        found.append(Entry(_label(axes, values), 0, {**given, **tried}))
    return found


def _label(axes: Sequence[Axis], values: Sequence[str]) -> str:
    return ", ".join(f"{axis.name}={value}" for axis, value in zip(axes, values, strict=True))


def _values(name: str, text: str) -> list[str]:
    found: list[str] = []
    for part in next(csv.reader([text], skipinitialspace=True)):
        if PER_LINE[name] is not PER_LINE["prompt"] and (counted := _RANGE.fullmatch(part.strip())):
            found += _counted(part, *counted.groups())
        else:
            found.append(part.strip())
    for value in found:
        from_text(name, value)
    return list(dict.fromkeys(found))


def _counted(text: str, first: str, last: str, by: str | None) -> list[str]:
    """Exactly, as one would on paper: 0.1:0.5:0.1 has five values."""
    try:
        low, high, step = Decimal(first), Decimal(last), Decimal(by or 1)
    except ArithmeticError as error:
        raise UsageError(f"{text!r} is no range.", "3:9:2 counts from 3 to 9 in steps of 2.") from error
    if step <= 0 or high < low or (high - low) / step > MAX_COMBINATIONS:
        raise UsageError(f"{text!r} is no range.", "3:9:2 counts from 3 to 9 in steps of 2.")
    return [str(low + step * i) for i in range(int((high - low) / step) + 1)]
