"""Parse the expressions of `--mask-text`, such as `dog AND NOT collar` or `(cat OR dog){+8}`.

Grammar, the weakest operator first:

    or      = and { ("OR" | "|") and }
    and     = not { ("AND" | "&") not }
    not     = ("NOT" | "!") not | item
    item    = (phrase | "(" or ")") { "{" ("*" | "/" | "+" | "-") number "}" }
    phrase  = word { word }        a word in double quotes can contain every character

Operators that are words must be in upper case: `salt and pepper` is one phrase.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from artgen.errors import UsageError

MAX_MASK_TEXT_CHARS = 2000
MAX_TERMS = 32
MAX_DEPTH = 32
MAX_GROWTH_PX = 512
MAX_WEIGHT = 1000.0

_OPERATORS = {"AND": "&", "OR": "|", "NOT": "!"}
_TOKEN = re.compile(
    r'\s*(?:(?P<symbol>[&|!()])|(?P<change>\{[^{}]*\})|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s&|!(){}"]+))'
)
_CHANGE = re.compile(r"\{\s*([*/+-])\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*\}")
_PLAIN_WORD = re.compile(r'[^\s&|!(){}"]+')
_EXAMPLE = '--mask-text "dog AND NOT collar"'


@dataclass(frozen=True)
class Term:
    """Represent a phrase that the mask model searches.

    Attributes:
        text: phrase as typed, without quotes, with single spaces.
    """

    text: str

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        words = self.text.split(" ")
        if all(_PLAIN_WORD.fullmatch(word) and word not in _OPERATORS for word in words):
            return self.text
        return '"' + self.text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Not:
    """Represent the pixels that `operand` does not select: the score is 1 - score."""

    operand: "MaskExpression"

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        return f"NOT {_bracketed(self.operand, And, Or)}"


@dataclass(frozen=True)
class And:
    """Represent the pixels that all parts select: the score is the minimum of the scores."""

    parts: tuple["MaskExpression", ...]

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        return " AND ".join(_bracketed(part, And, Or) for part in self.parts)


@dataclass(frozen=True)
class Or:
    """Represent the pixels that at least one part selects: the score is the maximum of the scores."""

    parts: tuple["MaskExpression", ...]

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        return " OR ".join(_bracketed(part, Or) for part in self.parts)


@dataclass(frozen=True)
class Scaled:
    """Represent a weight: the score is multiplied by `factor` and clamped to 1."""

    operand: "MaskExpression"
    factor: float
    is_divisor: bool = False

    @property
    def multiplier(self) -> float:
        """Return the value that multiplies the score, above 0."""
        return 1 / self.factor if self.is_divisor else self.factor

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        return f"{_bracketed(self.operand, And, Or, Not)}{{{'/' if self.is_divisor else '*'}{_number(self.factor)}}}"


@dataclass(frozen=True)
class Grown:
    """Represent an area that grows by `pixels` of the input image, or shrinks if `pixels` is negative."""

    operand: "MaskExpression"
    pixels: float

    def __str__(self) -> str:
        """Return the text from which `parse_mask_text` reads the same value."""
        sign = "-" if self.pixels < 0 else "+"
        return f"{_bracketed(self.operand, And, Or, Not)}{{{sign}{_number(abs(self.pixels))}}}"


MaskExpression = Term | Not | And | Or | Scaled | Grown


def parse_mask_text(text: str) -> MaskExpression:
    """Parse an expression.

    Raises:
        UsageError: the expression is invalid or too large; the message shows the position.
    """
    if len(text) > MAX_MASK_TEXT_CHARS:
        raise UsageError(
            f"mask_text has {len(text):,} characters; the maximum is {MAX_MASK_TEXT_CHARS:,}.",
            f"Use a shorter expression: {_EXAMPLE}",
            settings=("mask_text",),
        )
    return _Parser(text).parse()


def phrases(expression: MaskExpression) -> tuple[str, ...]:
    """Return the different phrases of an expression, in order."""
    return tuple(dict.fromkeys(_phrases(expression)))


def _phrases(expression: MaskExpression) -> Iterator[str]:
    if isinstance(expression, Term):
        yield expression.text
    elif isinstance(expression, And | Or):
        for part in expression.parts:
            yield from _phrases(part)
    else:
        yield from _phrases(expression.operand)


class _Token(NamedTuple):
    """Store a token: the kind is a symbol, `phrase` part, `change` or `end`; `position` counts from 0."""

    kind: str
    text: str
    position: int


class _Parser:
    """Parse one expression by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read_tokens())
        self._index = 0
        self._num_terms = 0
        self._depth = 0

    def parse(self) -> MaskExpression:
        """Return the expression."""
        found = self._parse_or()
        token = self._tokens[self._index]
        if token.kind != "end":
            self._fail("expected AND, OR or the end", token)
        return found

    def _read_tokens(self) -> Iterator[_Token]:
        position = 0
        while position < len(self._text) and not self._text[position:].isspace():
            match = _TOKEN.match(self._text, position)
            start = position + len(self._text[position:]) - len(self._text[position:].lstrip())
            if match is None:
                end = _Token("end", "", len(self._text.rstrip()))
                if (closing := {'"': '"', "{": "}"}.get(self._text[start])) and closing not in self._text[start + 1 :]:
                    self._fail(f"expected {closing} for the {self._text[start]} at character {start + 1}", end)
                self._fail("expected a phrase or an operator", _Token("", self._text[start], start))
            kind = str(match.lastgroup)
            text = match[kind]
            if kind == "quoted":
                words = re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL).split()
                if not words:
                    self._fail("the quotes contain no word", _Token("", '""', start))
                yield _Token("word", " ".join(words), start)
            elif kind == "word":
                yield _Token(_OPERATORS.get(text, "word"), text, start)
            else:
                yield _Token(text if kind == "symbol" else kind, text, start)
            position = match.end()
        yield _Token("end", "", len(self._text.rstrip()))

    def _parse_or(self) -> MaskExpression:
        parts = [self._parse_and()]
        while self._take("|"):
            parts.append(self._parse_and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _parse_and(self) -> MaskExpression:
        parts = [self._parse_not()]
        while self._take("&"):
            parts.append(self._parse_not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _parse_not(self) -> MaskExpression:
        token = self._tokens[self._index]
        if token.kind != "!":
            return self._parse_item()
        self._enter(token)
        self._index += 1
        found = Not(self._parse_not())
        self._depth -= 1
        return found

    def _parse_item(self) -> MaskExpression:
        token = self._tokens[self._index]
        found: MaskExpression
        if token.kind == "(":
            self._enter(token)
            self._index += 1
            found = self._parse_or()
            if not self._take(")"):
                self._fail("expected ')'", self._tokens[self._index])
            self._depth -= 1
        elif token.kind == "word":
            words = []
            while self._tokens[self._index].kind == "word":
                words.append(self._tokens[self._index].text)
                self._index += 1
            found = Term(" ".join(words))
            self._num_terms += 1
            if self._num_terms > MAX_TERMS:
                self._fail(f"more than {MAX_TERMS} phrases", token)
        else:
            self._fail("expected a phrase", token)
        num_changes = 0
        while (change := self._tokens[self._index]).kind == "change":
            num_changes += 1
            if num_changes > MAX_DEPTH:
                self._fail(f"more than {MAX_DEPTH} changes", change)
            found = self._changed(found, change)
            self._index += 1
        return found

    def _changed(self, operand: MaskExpression, token: _Token) -> MaskExpression:
        match = _CHANGE.fullmatch(token.text)
        if match is None:
            self._fail("expected {*NUMBER}, {/NUMBER}, {+PIXELS} or {-PIXELS}", token)
        operator, value = match[1], float(match[2])
        if operator in "+-":
            if value > MAX_GROWTH_PX:
                self._fail(f"the growth must be at most {MAX_GROWTH_PX} pixels", token)
            return Grown(operand, -value if operator == "-" else value)
        if not 1 / MAX_WEIGHT <= value <= MAX_WEIGHT:
            self._fail(f"the weight must be {1 / MAX_WEIGHT:g} to {MAX_WEIGHT:g}", token)
        return Scaled(operand, value, operator == "/")

    def _enter(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} levels of brackets and NOT", token)

    def _take(self, kind: str) -> bool:
        if self._tokens[self._index].kind != kind:
            return False
        self._index += 1
        return True

    def _fail(self, reason: str, token: _Token) -> NoReturn:
        found = f"not '{token.text[:40]}'" if token.text else "not the end of the text"
        start = max(0, token.position - 30)
        excerpt = " ".join(self._text[start : token.position + 30].splitlines())
        raise UsageError(
            f"Invalid mask_text at character {token.position + 1}: {reason}, {found}: "
            f"'{'...' if start else ''}{excerpt}'.",
            f"Example: {_EXAMPLE}. Operators are AND, OR and NOT in upper case.",
            settings=("mask_text",),
        )


def _bracketed(expression: MaskExpression, *kinds: type) -> str:
    return f"({expression})" if isinstance(expression, kinds) else str(expression)


def _number(value: float) -> str:
    text = f"{value:.15f}".rstrip("0").rstrip(".")
    return text if math.isclose(float(text), value, rel_tol=0, abs_tol=0) else repr(value)
