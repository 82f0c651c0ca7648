"""Replace the wildcards and variants of a prompt by one choice for a seed.

A choice is a hash of the seed, of the text of the wildcard or variant, and of its ordinal among equal texts. Therefore
another wildcard does not change it, and every machine makes the same choice. Choices inside an option also depend on
the wildcard or variant that contains them.
"""

import bisect
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from artgen.errors import UsageError
from artgen.spec.fields import MAX_TEXT_CHARS
from artgen.spec.wildcards import MAX_DEPTH, Option, Part, Selection, Variant, Wildcard, parse
from artgen.system.counts import counted

MAX_CHOICES = 10_000
"""Maximum number of choices of one prompt."""
MAX_LISTED_CHOICES = 1000
MAX_LABEL_CHARS = 200


@dataclass(frozen=True)
class Values:
    """Store the values of a wildcard.

    Attributes:
        texts: the values, in order, without their weights.
        weights: relative probabilities, at least 0; None if all are equal.
    """

    texts: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    @cached_property
    def cumulative(self) -> Sequence[float]:
        """Return the sums of the weights up to each value."""
        return range(1, len(self.texts) + 1) if self.weights is None else tuple(itertools.accumulate(self.weights))

    def options(self) -> list[Option]:
        """Return the parsed values."""
        weights = itertools.repeat(1.0) if self.weights is None else self.weights
        return [Option(parse(text), weight) for text, weight in zip(self.texts, weights, strict=False)]


Lookup = Callable[[str], Values | None]
"""Return the values of a wildcard; None for an unknown name. Raise an ArtgenError for a name that is not usable."""


@dataclass
class Expansion:
    """Collect the facts about the expansion of prompts.

    Attributes:
        choices: text of each wildcard and variant and its choice, `__color__=red`, in order.
        notes: notes for the user, each once.
    """

    choices: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, text: str, choice: str) -> None:
        """Add a choice. Long texts are shortened."""
        if len(self.choices) < MAX_LISTED_CHOICES:
            self.choices.append(f"{shorten_label(text)}={shorten_label(choice)}")


def choose(text: str, seed: int, lookup: Lookup, expansion: Expansion, *, salt: str = "") -> str:
    """Return a text with one choice for each wildcard and variant.

    Args:
        text: prompt.
        seed: seed of the image.
        lookup: finds the values of wildcards.
        expansion: receives the choices and the notes.
        salt: text that distinguishes prompts with independent choices: the negative prompt and styles.

    Raises:
        UsageError: the syntax is invalid, or the result is too long or nested too deeply.
    """
    chooser = _Chooser(seed, lookup, expansion)
    return chooser.resolve(parse(text), hashlib.sha256(salt.encode("utf-8", "surrogatepass")).digest(), 0)


class _Chooser:
    """Choose options by hashing."""

    def __init__(self, seed: int, lookup: Lookup, expansion: Expansion) -> None:
        self._seed = str(seed).encode()
        self._lookup = lookup
        self._expansion = expansion
        self._num_choices = 0
        self._num_chars = 0

    def resolve(self, parts: Iterable[Part], scope: bytes, depth: int) -> str:
        """Return the text of parts. `scope` identifies the option that contains them."""
        ordinals: Counter[str] = Counter()
        texts = []
        for part in parts:
            if isinstance(part, str):
                self._num_chars += len(part)
                if self._num_chars > MAX_TEXT_CHARS * (MAX_DEPTH + 1):
                    raise too_long_error()
                texts.append(part)
                continue
            ordinals[part.text] += 1
            key = _hash(self._seed, scope, part.text.encode("utf-8", "surrogatepass"), b"%d" % ordinals[part.text])
            texts.append(self._resolve_choice(part, key, depth))
        result = "".join(texts)
        if len(result) > MAX_TEXT_CHARS:
            raise too_long_error()
        return result

    def _resolve_choice(self, part: Wildcard | Variant, key: bytes, depth: int) -> str:
        self._num_choices += 1
        if self._num_choices > MAX_CHOICES:
            raise UsageError(
                f"The prompt has more than {MAX_CHOICES:,} wildcards and variants.", "Use fewer wildcards."
            )
        if depth >= MAX_DEPTH:
            raise too_deep_error(part.text)
        if isinstance(part, Wildcard):
            values = find_values(part, self._lookup, self._expansion)
            if values is None:
                return part.text
            index = _weighted_index(values.cumulative, key)
            position = len(self._expansion.choices)
            chosen = self.resolve(parse(values.texts[index]), key, depth + 1)
        else:
            position = len(self._expansion.choices)
            chosen = self._resolve_variant(part, key, depth)
        self._insert_choice(position, part.text, chosen)
        return chosen

    def _insert_choice(self, position: int, text: str, chosen: str) -> None:
        """Add a choice before the choices inside its option."""
        inner = self._expansion.choices[position:]
        del self._expansion.choices[position:]
        self._expansion.add(text, chosen)
        self._expansion.choices.extend(inner)

    def _resolve_variant(self, variant: Variant, key: bytes, depth: int) -> str:
        if variant.selection is None:
            index = _weighted_index(tuple(itertools.accumulate(each.weight for each in variant.options)), key)
            return self.resolve(variant.options[index].parts, key + b"%d" % index, depth + 1)
        options = selectable_options(variant, variant.selection, self._lookup, self._expansion)
        low, high = selected_numbers(variant.selection, len(options))
        count = low + int(_fraction(_hash(key, b"count")) * (high - low + 1))
        # Weighted sampling without replacement: Efraimidis and Spirakis, 2006.
        order = sorted(
            range(len(options)),
            key=lambda index: -math.log(_fraction(_hash(key, b"%d" % index)) or 2**-64) / options[index].weight,
        )
        texts = [self.resolve(options[index].parts, key + b"%d" % index, depth + 1) for index in order[:count]]
        return variant.selection.separator.join(texts)


def find_values(wildcard: Wildcard, lookup: Lookup, expansion: Expansion) -> Values | None:
    """Return the values of a wildcard. Return None, with a note, if its underscores are text.

    Raises:
        UsageError: the wildcard has no values.
    """
    values = lookup(wildcard.name) if wildcard.is_certain else _find_possible(wildcard, lookup)
    if values is None:
        expansion.notes[f"'{shorten_label(wildcard.text)}' is text: no wildcard has this name."] = None
        return None
    if not values.cumulative or not values.cumulative[-1]:
        raise UsageError(
            f"The wildcard '{wildcard.name}' has no values with a weight above 0.", "Add lines to its file."
        )
    return values


def _find_possible(wildcard: Wildcard, lookup: Lookup) -> Values | None:
    try:
        return lookup(wildcard.name)
    except UsageError:
        return None


def selectable_options(variant: Variant, selection: Selection, lookup: Lookup, expansion: Expansion) -> list[Option]:
    """Return the options of `{2$$...}` with a weight above 0. A single wildcard stands for its values."""
    options = list(variant.options)
    single = options[0].parts if len(options) == 1 else ()
    if len(single) == 1 and isinstance(single[0], Wildcard) and (values := find_values(single[0], lookup, expansion)):
        options = values.options()
    options = [option for option in options if option.weight]
    wanted = max(selection.minimum, selection.maximum or 0)
    if wanted > len(options):
        expansion.notes[
            f"'{shorten_label(variant.text)}' selects {counted(len(options), 'option')}, not {wanted:,}: options "
            "are not repeated."
        ] = None
    return options


def selected_numbers(selection: Selection, total: int) -> tuple[int, int]:
    """Return the smallest and the largest number of options to select from `total` options."""
    high = total if selection.maximum is None else min(selection.maximum, total)
    return min(selection.minimum, total), high


def too_deep_error(text: str) -> UsageError:
    """Return the error for a wildcard or variant that is nested too deeply."""
    return UsageError(
        f"'{shorten_label(text)}' is nested deeper than {MAX_DEPTH} levels of wildcards.", "Use fewer levels."
    )


def too_long_error() -> UsageError:
    """Return the error for a prompt that is too long after the expansion."""
    return UsageError(
        f"The prompt has more than {MAX_TEXT_CHARS:,} characters after its wildcards and variants were replaced.",
        "Use fewer wildcards.",
    )


def _hash(*data: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(data)).digest()


def _fraction(digest: bytes) -> float:
    """Return a number of at least 0 and below 1."""
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _weighted_index(cumulative: Sequence[float], key: bytes) -> int:
    """Return an index with a weight above 0."""
    last = bisect.bisect_left(cumulative, cumulative[-1])
    return min(bisect.bisect_right(cumulative, _fraction(_hash(key, b"choice")) * cumulative[-1]), last)


def shorten_label(text: str) -> str:
    """Return a text of at most `MAX_LABEL_CHARS` characters, for records and notes."""
    return text if len(text) <= MAX_LABEL_CHARS else f"{text[:MAX_LABEL_CHARS]}..."
