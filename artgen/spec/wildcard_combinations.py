"""Replace the wildcards and variants of a prompt by each combination of their options."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from artgen.errors import UsageError
from artgen.spec.fields import MAX_TEXT_CHARS
from artgen.spec.wildcard_choices import (
    Expansion,
    Lookup,
    find_values,
    selectable_options,
    selected_numbers,
    shorten_label,
    too_deep_error,
    too_long_error,
)
from artgen.spec.wildcards import MAX_DEPTH, Option, Part, Variant, Wildcard, parse

MAX_COMBINATIONS = 100_000
MAX_COMBINATION_CHARS = 1 << 26
"""Maximum number of characters of all combinations of a prompt."""
_EXACT_LIMIT = 10**15
"""Larger numbers of combinations are not exact."""
_MAX_COUNT_STEPS = 10**6

Combination = tuple[str, tuple[str, ...]]
"""Text, and the choices as in `Expansion.choices`."""


def combine(text: str, lookup: Lookup, expansion: Expansion) -> list[Combination]:
    """Return the texts of all combinations of the wildcards and variants of a text, each text once, in order.

    Args:
        text: prompt.
        lookup: finds the values of wildcards.
        expansion: receives the notes.

    Raises:
        UsageError: there are more than `MAX_COMBINATIONS`, or the syntax is invalid.
    """
    parts = parse(text)
    combiner = _Combiner(lookup, expansion)
    check_number(combiner.count(parts, 0))
    return list(dict(reversed(combiner.combine(parts))).items())[::-1]


def check_number(total: int) -> None:
    """Check the number of combinations.

    Raises:
        UsageError: there are more than `MAX_COMBINATIONS`.
    """
    if total > MAX_COMBINATIONS:
        number = f"{total:,}" if total <= _EXACT_LIMIT else f"more than {_EXACT_LIMIT:,}"
        raise UsageError(
            f"Cannot expand the prompt to {number} combinations: the maximum is {MAX_COMBINATIONS:,}.",
            "Use fewer options, or remove --combinatorial.",
        )


class _Combiner:
    """Count and create the combinations of wildcards and variants. Equal texts are counted once."""

    def __init__(self, lookup: Lookup, expansion: Expansion) -> None:
        self._lookup = lookup
        self._expansion = expansion
        self._options: dict[str, list[Option]] = {}
        self._counts: dict[str, int] = {}
        self._num_chars = 0

    def count(self, parts: Iterable[Part], depth: int) -> int:
        """Return the number of combinations; a number above `_EXACT_LIMIT` is a lower limit."""
        total = 1
        for part in parts:
            if isinstance(part, str):
                continue
            if part.text not in self._counts:
                self._counts[part.text] = self._count_part(part, depth)
            total = min(total * self._counts[part.text], _EXACT_LIMIT + 1)
        return total

    def _count_part(self, part: Wildcard | Variant, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise too_deep_error(part.text)
        counts = [self.count(option.parts, depth + 1) for option in self._options_of(part)]
        if isinstance(part, Variant) and part.selection is not None:
            low, high = selected_numbers(part.selection, len(counts))
            return _count_selections(counts, low, high)
        return sum(counts) if counts else 1

    def combine(self, parts: Iterable[Part]) -> list[Combination]:
        """Return the combinations of parts; the last part changes fastest."""
        found: list[Combination] = [("", ())]
        for part in parts:
            options = [(part, ())] if isinstance(part, str) else list(self._combine_part(part))
            found = [(text + option, choices + more) for text, choices in found for option, more in options]
            self._num_chars += sum(len(text) for text, _ in found)
            if self._num_chars > MAX_COMBINATION_CHARS or any(len(text) > MAX_TEXT_CHARS for text, _ in found):
                raise too_long_error()
        return found

    def _combine_part(self, part: Wildcard | Variant) -> Iterator[Combination]:
        options = self._options_of(part)
        if isinstance(part, Wildcard) and not options:
            yield part.text, ()
            return
        sizes, separator = range(1, 2), ""
        if isinstance(part, Variant) and part.selection is not None:
            low, high = selected_numbers(part.selection, len(options))
            sizes, separator = range(low, high + 1), part.selection.separator
        for size in sizes:
            for chosen in itertools.combinations(options, size):
                for combination in itertools.product(*(self.combine(each.parts) for each in chosen)):
                    text = separator.join(item for item, _ in combination)
                    inner = tuple(choice for _, choices in combination for choice in choices)
                    yield text, (f"{shorten_label(part.text)}={shorten_label(text)}", *inner)

    def _options_of(self, part: Wildcard | Variant) -> list[Option]:
        """Return the options with a weight above 0; an empty list for a wildcard that is text."""
        if part.text not in self._options:
            if isinstance(part, Wildcard):
                values = find_values(part, self._lookup, self._expansion)
                options = [] if values is None else values.options()
            elif part.selection is not None:
                options = selectable_options(part, part.selection, self._lookup, self._expansion)
            else:
                options = list(part.options)
            self._options[part.text] = [option for option in options if option.weight]
        return self._options[part.text]


def _count_selections(counts: Sequence[int], low: int, high: int) -> int:
    """Return the sum of the elementary symmetric polynomials of the degrees `low` to `high`."""
    if len(counts) * high > _MAX_COUNT_STEPS:
        return _EXACT_LIMIT + 1
    sums = [1, *[0] * high]
    for count in counts:
        for degree in range(high, 0, -1):
            sums[degree] = min(sums[degree] + sums[degree - 1] * count, _EXACT_LIMIT + 1)
    return min(sum(sums[low:]), _EXACT_LIMIT + 1)
