"""Check the syntax of prompts: weights, brackets, and the numbers of `[from:to:when]`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.spec.prompt_schedule import iterate_edits, parse_edits
from artgen.spec.prompt_weights import (
    A1111_TOKEN,
    WeightedText,
    parse_a1111_weights,
    parse_comfy_weights,
    parse_composition,
    parse_number,
)

MAX_WEIGHT = 1000
"""Larger weights overflow in float16."""
MAX_EXCERPT_CHARS = 60

A1111_WEIGHT = re.compile(r"[+-]?[.0-9]+")
NUMBER_START = re.compile(r"[+-]?[.,]?\d")


class BracketValue(NamedTuple):
    """Represent round brackets with a colon: `(text:value)`."""

    text: str
    value: str

    def weight(self, rule: str) -> float | None:
        """Return the weight, or None if the value is not a finite number."""
        if rule == "a1111" and not A1111_WEIGHT.fullmatch(self.value):
            return None
        return parse_number(self.value)

    def is_invalid(self) -> bool:
        """Return whether the value was probably meant as a weight: a word or a number, directly after the colon."""
        if not self.value or any(map(str.isspace, self.value)):
            return False
        if NUMBER_START.match(self.value):
            return True
        return len(self.value) > 1 and self.value[0].isalpha() and self.text[-1:].strip() != ""


def iterate_values(text: str) -> Iterator[BracketValue]:
    """Yield each pair of round brackets that ends with a colon and a text."""
    openings: list[int] = []
    colon: int | None = None
    for match in A1111_TOKEN.finditer(text):
        token = match[0]
        if token == "(":
            openings.append(match.end())
        elif token[-1] == ")" and token[0] != "\\" and openings:
            opening = openings.pop()
            start = match.start() if match[1] is not None else colon
            if start is not None:
                yield BracketValue(text[opening:start], text[start + 1 : match.end() - 1])
        if token == ":":
            colon = match.start()
        elif token in ("(", ")", "[", "]") or token[0] == "\\" or match[1] is not None:
            colon = None


def check_syntax(text: str, rule: str) -> None:
    r"""Raise an error if a part of a prompt is not what its author probably meant.

    Args:
        text: prompt.
        rule: a1111, comfy or none.

    Raises:
        UsageError: a weight is not a number or is too large, a fraction of `[a:b:when]` is above 1, or the prompt has
            too many brackets.
    """
    if rule == "none":
        return
    parts = parse_a1111_weights(text) if rule == "a1111" else parse_comfy_weights(text)
    for value in iterate_values(text):
        if value.weight(rule) is None and value.is_invalid():
            raise _syntax_error(
                f"The weight of '{excerpt(value.text)}' must be a number, not '{excerpt(value.value)}'.",
                rf"Write ({excerpt(value.text)}:1.2) for a weight, and \( for a bracket that is text.",
            )
    weighted = [(each.text, each.weight) for each in parts if isinstance(each, WeightedText)]
    if rule == "a1111":
        weighted += [(each.text, each.weight) for each in parse_composition(text)]
    for part, weight in weighted:
        if not abs(weight) <= MAX_WEIGHT:
            raise _syntax_error(
                f"The weight of '{excerpt(part)}' must be at most {MAX_WEIGHT}, not {weight:g}.",
                "Weights from 0.5 to 1.5 are usual.",
            )
    if rule == "a1111":
        for edit in iterate_edits(parse_edits(text)):
            if edit.when is not None and "." in edit.when and float(edit.when) > 1:
                raise _syntax_error(
                    f"The last number of '{excerpt(edit.source)}' must be a step or a fraction below 1, not "
                    f"{edit.when}.",
                    "Write [from:to:0.5] for half of the steps, or [from:to:10] for step 10.",
                )


def _syntax_error(message: str, hint: str) -> UsageError:
    return UsageError(message, f"{hint} --prompt-weights none uses the prompt as plain text.")


def excerpt(text: str) -> str:
    """Return a text for a message: its start with `...` if it has more than `MAX_EXCERPT_CHARS` characters."""
    return text if len(text) <= MAX_EXCERPT_CHARS else f"{text[: MAX_EXCERPT_CHARS - 3]}..."
