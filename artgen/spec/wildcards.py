"""Parse wildcards and variants: `__color__`, `{a|b}`, `{0.5::a|b}`, `{2$$ and $$a|b|c}`.

The syntax is that of sd-dynamic-prompts. Braces without `|` and without `N$$` are text, and `|` inside `[...]` belongs
to the alternation of A1111. `\\{`, `\\}` and `\\__name__` are literal. The parser needs linear time.
"""

import itertools
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from artgen.errors import UsageError, shorten

MAX_DEPTH = 50
"""Maximum nesting of variants and wildcards."""
MAX_COUNT = 1_000_000
"""Maximum of the numbers before `$$`."""
MAX_WEIGHT = 1_000_000
MAX_NAME_CHARS = 200
MAX_WEIGHT_CHARS = 100
DEFAULT_SEPARATOR = ", "

_MARK = re.compile(r"[{}]|__")
_BRACKET = re.compile(r"\\.|[{}|\[\]]", re.DOTALL)
_TOKEN = re.compile(r"\\(?:__|.)|[{}\[\]]|_{2,}", re.DOTALL)
_CERTAIN_NAME = re.compile(rf"__((?:[^\W_]|[./*?!@~&+'-]|_(?!_)){{1,{MAX_NAME_CHARS}}})__")
_POSSIBLE_NAME = re.compile(rf"__(?!\s)((?:[^_\s{{}}|\[\]<>\\]|[ \t]|_(?!_)){{1,{MAX_NAME_CHARS}}})(?<!\s)__(?!\w)")
SELECTION_PATTERN = re.compile(r"\s*([0-9]{0,99})(?:(-)([0-9]{0,99}))?\s*\$\$(?:((?:[^$|{}]|\$(?!\$))*|\s*\|\s*)\$\$)?")
_WEIGHT = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|inf)::")


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Represent `__name__`.

    Attributes:
        text: text of the wildcard in the prompt.
        name: name, which can contain `/`, `*` and `**`.
        is_certain: an unknown name is an error. Otherwise it is text: the underscores are in a word such as
            `bad__hands__v4`, or the name contains spaces.
    """

    text: str
    name: str
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """Represent one option of a variant or one value of a wildcard.

    Attributes:
        parts: content.
        weight: relative probability, at least 0.
    """

    parts: "tuple[Part, ...]"
    weight: float = 1.0


class Selection(NamedTuple):
    """Store the number of options that `{1-2$$ and $$a|b|c}` selects, without repetition, and their separator.

    Attributes:
        minimum, maximum: number of options; a maximum of None is the number of options.
        separator: text between the options.
    """

    minimum: int
    maximum: int | None
    separator: str = DEFAULT_SEPARATOR


@dataclass(frozen=True, slots=True)
class Variant:
    """Represent `{a|b}`, and `{2$$a|b|c}` with a selection.

    Attributes:
        text: text of the variant in the prompt.
        options: the options, in order.
        selection: number of the selected options; None selects one.
    """

    text: str
    options: tuple[Option, ...]
    selection: Selection | None = None


Part = str | Wildcard | Variant


def has_wildcards(text: str) -> bool:
    """Return whether a text may contain wildcards, variants or their escapes."""
    return _MARK.search(text) is not None


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Part, ...]:
    """Parse a prompt or a value of a wildcard. Neighboring texts are one part.

    Raises:
        UsageError: a weight or a number before `$$` is invalid, or variants are nested deeper than `MAX_DEPTH`.
    """
    return _Parser(text).parse(0, len(text), 0) if has_wildcards(text) else ((text,) if text else ())


def split_weight(text: str) -> tuple[float, str]:
    """Return the weight and the rest of `0.5::red`. The default weight is 1.

    Raises:
        UsageError: the weight is negative or above `MAX_WEIGHT`.
    """
    match = _WEIGHT.match(text)
    if match is None:
        return 1.0, text
    weight = float(match[1])
    if not 0 <= weight <= MAX_WEIGHT:
        raise UsageError(
            f"The weight of an option must be a number from 0 to {MAX_WEIGHT:,}, not '{match[1]}'.", "{0.5::red|blue}"
        )
    return weight, text[match.end() :]


@dataclass
class _Frame:
    """Store an open brace or bracket and the positions of its `|`."""

    start: int
    is_brace: bool
    bars: list[int] = field(default_factory=list)


class _Parser:
    """Parse one text. The matching braces and brackets are found first."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends: dict[int, int] = {}
        self._bars: dict[int, list[int]] = {}
        self._brackets: set[int] = set()
        self._bracket_depth = 0
        self._match_brackets()

    def _match_brackets(self) -> None:
        stack: list[_Frame] = []
        num_braces = 0
        for token in _BRACKET.finditer(self._text):
            symbol = token[0]
            if symbol in "{[":
                stack.append(_Frame(token.start(), symbol == "{"))
                num_braces += symbol == "{"
            elif symbol == "|" and stack:
                stack[-1].bars.append(token.start())
            elif symbol == "]" and stack and not stack[-1].is_brace:
                self._brackets |= {stack.pop().start, token.start()}
            elif symbol == "}" and num_braces:
                unclosed = []
                while not stack[-1].is_brace:  # brackets without an end are text
                    unclosed += stack.pop().bars
                brace = stack.pop()
                num_braces -= 1
                self._ends[brace.start] = token.start()
                self._bars[brace.start] = sorted(brace.bars + unclosed)

    def parse(self, start: int, end: int, depth: int) -> tuple[Part, ...]:
        """Return the parts of a section of the text."""
        parts: list[Part] = []
        literal: list[str] = []

        def add(part: Wildcard | Variant) -> None:
            if text := "".join(literal):
                parts.append(text)
            literal.clear()
            parts.append(part)

        position = start
        while token := _TOKEN.search(self._text, position, end):
            literal.append(self._text[position : token.start()])
            position = token.end()
            symbol = token[0]
            if symbol[0] == "\\":
                text, position = self._escaped(token, depth)
                literal.append(text)
            elif symbol[0] == "_":
                opening = position - 2
                literal.append(self._text[token.start() : opening])
                if wildcard := self._wildcard(opening, end):
                    add(wildcard)
                    position = opening + len(wildcard.text)
                else:
                    literal.append("__")
            elif symbol == "{" and (variant := self._variant(token.start(), depth)):
                add(variant)
                position = token.start() + len(variant.text)
            else:
                if token.start() in self._brackets:
                    self._bracket_depth += 1 if symbol == "[" else -1
                literal.append(symbol)
        literal.append(self._text[position:end])
        if text := "".join(literal):
            parts.append(text)
        return tuple(parts)

    def _escaped(self, token: re.Match[str], depth: int) -> tuple[str, int]:
        """Return the text of a backslash and the position after it. Escapes of other syntax are kept."""
        symbol = token[0][1:]
        if symbol == "__":
            wildcard = self._wildcard(token.start() + 1, len(self._text))
            if wildcard is None:
                return token[0], token.end()
            return wildcard.text, token.start() + 1 + len(wildcard.text)
        is_own = symbol in ("{", "}") or (symbol == "|" and depth > 0 and not self._bracket_depth)
        return symbol if is_own else token[0], token.end()

    def _wildcard(self, start: int, end: int) -> Wildcard | None:
        before = self._text[start - 1 : start]
        is_in_word = before.isalnum()
        if match := _CERTAIN_NAME.match(self._text, start, end):
            after = self._text[match.end() : match.end() + 1]
            return Wildcard(match[0], match[1], not is_in_word and not after.isalnum())
        if not is_in_word and (match := _POSSIBLE_NAME.match(self._text, start, end)):
            return Wildcard(match[0], match[1], is_certain=False)
        return None

    def _variant(self, start: int, depth: int) -> Variant | None:
        """Return the variant that begins at a brace; None if the brace is text."""
        end = self._ends.get(start)
        if end is None:
            return None
        selection, first = self._selection(start + 1, end)
        bars = [bar for bar in self._bars[start] if bar >= first]
        if not bars and selection is None:
            return None
        if depth >= MAX_DEPTH:
            raise UsageError(f"Variants are nested deeper than {MAX_DEPTH} levels.", "Use fewer braces.")
        edges = [first - 1, *bars, end]
        sections = [(left + 1, right) for left, right in itertools.pairwise(edges)]
        # White space is a part of an option, unless the options are on several lines or are joined.
        strip = selection is not None or any(self._has_line_break(*section) for section in sections)
        options = [self._option(*section, depth, strip=strip) for section in sections]
        text = self._text[start : end + 1]
        if not any(option.weight for option in options):
            raise UsageError(f"All weights of '{shorten(text)}' are 0.", "Use a weight above 0: {0.5::red|blue}")
        return Variant(text, tuple(options), selection)

    def _selection(self, start: int, end: int) -> tuple[Selection | None, int]:
        """Return the numbers before `$$`, and the start of the first option."""
        match = SELECTION_PATTERN.match(self._text, start, end)
        if match is None or not (match[1] or match[2]):
            return None, start
        low, high = (int(text) if text else None for text in (match[1], match[3]))
        if not match[2]:
            high = low
        low = 1 if low is None else low
        example = "{1-2$$red|green|blue}"
        if max(low, high or 0) > MAX_COUNT:
            raise UsageError(f"Cannot select more than {MAX_COUNT:,} options: '{shorten(match[0].strip())}'.", example)
        if high is not None and high < low:
            raise UsageError(
                f"The range '{match[1]}-{match[3]}' before $$ is empty: its end is before its start.", example
            )
        return Selection(low, high, DEFAULT_SEPARATOR if match[4] is None else match[4]), match.end()

    def _option(self, start: int, end: int, depth: int, *, strip: bool) -> Option:
        weight, rest = split_weight(self._text[start : min(end, start + MAX_WEIGHT_CHARS)])
        start = min(end, start + MAX_WEIGHT_CHARS) - len(rest)
        if strip:
            start, end = self._stripped(start, end)
        return Option(self.parse(start, end, depth + 1), weight)

    def _stripped(self, start: int, end: int) -> tuple[int, int]:
        """Return the section without white space at its start and its end."""
        while start < end and self._text[start].isspace():
            start += 1
        while start < end and self._text[end - 1].isspace():
            end -= 1
        return start, end

    def _has_line_break(self, start: int, end: int) -> bool:
        """Return whether the white space at the start or the end of a section contains a line break."""
        left, right = self._stripped(start, end)
        return any(symbol in "\r\n" for symbol in self._text[start:left] + self._text[right:end])
