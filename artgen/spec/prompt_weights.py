"""Parse the weights of a prompt: the rules of AUTOMATIC1111 and of ComfyUI."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from artgen.errors import UsageError

MAX_NESTING = 100
"""Limit of open brackets. It keeps the time of the parsers proportional to the length of the prompt."""

ROUND_FACTOR = 1.1
SQUARE_FACTOR = 1 / 1.1
A1111_TOKEN = re.compile(r"\\[()\[\]\\]?|:([+-]?[.0-9]+)\)|[()\[\]:]|[^\\()\[\]:]+")
AND = re.compile(r"\bAND\b")
PART_WEIGHT = re.compile(r"[-+]?(?:[0-9]+\.?|[0-9]*\.[0-9]+)")
COMFY_TOKEN = re.compile(r"\\[()]|[()\\]|[^\\()]+")
BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class WeightedText:
    """Represent a part of a prompt and its weight.

    Attributes:
        text: plain text.
        weight: weight of the text; 1 is neutral.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class Break:
    """Represent BREAK: the next text starts a new chunk."""


@dataclass(frozen=True)
class WeightedPrompt:
    """Represent one of the prompts that AND combines, and the factor of its guidance."""

    text: str
    weight: float


def parse_composition(text: str) -> tuple[WeightedPrompt, ...]:
    """Split a prompt at AND, and return the parts with their weights: `a AND b :0.6`.

    A prompt without AND is returned unchanged with weight 1: a number after its last colon is text. In AUTOMATIC1111,
    this number is a weight also without AND.
    """
    parts = AND.split(text)
    if len(parts) == 1:
        return (WeightedPrompt(text, 1.0),)
    return tuple(map(_weighted_prompt, parts))


def _weighted_prompt(text: str) -> WeightedPrompt:
    start, colon, number = text.rpartition(":")
    if colon and PART_WEIGHT.fullmatch(number.strip()):
        return WeightedPrompt(start.strip(), float(number))
    return WeightedPrompt(text.strip(), 1.0)


def parse_number(text: str) -> float | None:
    """Return a text as a finite float, or None if it is not a finite number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_a1111_weights(text: str) -> tuple[WeightedText | Break, ...]:
    r"""Parse `(x)`, `[x]`, `(x:1.3)`, `BREAK` and escapes with the rules of AUTOMATIC1111.

    Weights of nested brackets multiply, from the inside to the outside. An unclosed bracket extends to the end, and a
    closing bracket without an opening bracket is text. `\(`, `\)`, `\[`, `\]` and `\\` are text without the backslash;
    another backslash is removed. Round and square brackets may overlap.

    Source of the rules: parse_prompt_attention of AUTOMATIC1111's modules/prompt_parser.py.

    Raises:
        UsageError: more than `MAX_NESTING` brackets are open.
    """
    texts: list[str | None] = []  # None is BREAK.
    weights: list[float] = []
    rounds: list[int] = []
    squares: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for i in range(start, len(weights)):
            weights[i] *= factor

    for match in A1111_TOKEN.finditer(text):
        token, number = match[0], match[1]
        if token in "([":
            (rounds if token == "(" else squares).append(len(texts))
            check_nesting(len(rounds) + len(squares))
            continue
        stack, factor, literal = None, 1.0, token
        if token == ")" and rounds:
            stack, factor, literal = rounds, ROUND_FACTOR, ""
        elif token == "]" and squares:
            stack, factor, literal = squares, SQUARE_FACTOR, ""
        elif number is not None and rounds:
            weight = parse_number(number)
            stack = rounds
            factor, literal = (ROUND_FACTOR, token[:-1]) if weight is None else (weight, "")
        elif token[0] == "\\":
            literal = token[1:]
        texts.extend(_split_breaks(literal))
        weights.extend([1.0] * (len(texts) - len(weights)))
        if stack is not None:
            multiply(stack.pop(), factor)
    for start in rounds:
        multiply(start, ROUND_FACTOR)
    for start in squares:
        multiply(start, SQUARE_FACTOR)
    return _merge(zip(texts, weights, strict=True))


def check_nesting(depth: int) -> None:
    """Raise UsageError if more than `MAX_NESTING` brackets are open."""
    if depth > MAX_NESTING:
        raise UsageError(
            f"A prompt can have at most {MAX_NESTING} nested brackets.",
            r"Write \( and \[ for brackets that are text, or use --prompt-weights none.",
        )


def _split_breaks(text: str) -> Iterator[str | None]:
    parts = BREAK.split(text)
    for i, part in enumerate(parts):
        if i:
            yield None
            part = part.lstrip()
        yield part.rstrip() if i < len(parts) - 1 else part


def _merge(parts: Iterable[tuple[str | None, float]]) -> tuple[WeightedText | Break, ...]:
    """Join neighbors with equal weights, and remove empty texts."""
    merged: list[tuple[list[str] | None, float]] = []
    for text, weight in parts:
        previous = merged[-1] if merged else None
        if text is None:
            merged.append((None, 1.0))
        elif text and previous and previous[0] is not None and previous[1] == weight:
            previous[0].append(text)
        elif text:
            merged.append(([text], weight))
    if not merged:
        return (WeightedText("", 1.0),)
    return tuple(Break() if texts is None else WeightedText("".join(texts), weight) for texts, weight in merged)


def parse_comfy_weights(text: str) -> tuple[WeightedText | Break, ...]:
    r"""Parse `(x)`, `(x:1.3)` and the escapes `\(` and `\)` with the rules of ComfyUI.

    A weight with a number is absolute: it replaces the weight of the brackets around it. `(x)` multiplies the weight
    by 1.1. Square brackets, BREAK and other backslashes are text, and so is an unclosed bracket.

    Source of the rules: token_weights of ComfyUI's comfy/sd1_clip.py.

    Raises:
        UsageError: more than `MAX_NESTING` brackets are open.
    """
    return _merge(_comfy_parts(text, 1.0))


def _comfy_parts(text: str, weight: float) -> Iterator[tuple[str, float]]:
    for item in _comfy_items(text):
        if len(item) < 2 or item[0] != "(" or item[-1] != ")" or item[-2:] == "\\)":
            yield item.replace("\\)", ")").replace("\\(", "("), weight
            continue
        inner, colon, number = item[1:-1].rpartition(":")
        absolute = parse_number(number) if colon and inner else None
        if absolute is None:
            yield from _comfy_parts(item[1:-1], weight * ROUND_FACTOR)
        else:
            yield from _comfy_parts(inner, absolute)


def _comfy_items(text: str) -> Iterator[str]:
    """Yield the outermost brackets of a text, and the texts between them.

    ComfyUI counts closing brackets without an opening bracket, too: after one of them, the next opening bracket is
    text. An unclosed bracket takes the rest of the text.
    """
    depth = start = 0
    for match in COMFY_TOKEN.finditer(text):
        if match[0] == "(":
            if depth == 0 and match.start() > start:
                yield text[start : match.start()]
            if depth == 0:
                start = match.start()
            depth += 1
            check_nesting(depth)
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                yield text[start : match.end()]
                start = match.end()
    if start < len(text):
        yield text[start:]
