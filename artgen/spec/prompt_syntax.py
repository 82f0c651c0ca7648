"""Parse the syntax of prompts. `prompt_weights` selects the rule: a1111, comfy or none.

A prompt is parsed in the order of AUTOMATIC1111: `parse_composition` splits it at AND, `parse_schedule` returns the
text of each range of steps, and `parse_weights` returns the weights of one text. The rule comfy has weights only.
"""

import re

from artgen.spec.prompt_checks import check_syntax, excerpt
from artgen.spec.prompt_schedule import ScheduledText, iterate_edits, parse_edits, parse_schedule
from artgen.spec.prompt_weights import (
    AND,
    Break,
    WeightedPrompt,
    WeightedText,
    parse_a1111_weights,
    parse_comfy_weights,
    parse_composition,
)

__all__ = [
    "Break",
    "ScheduledText",
    "WeightedPrompt",
    "WeightedText",
    "check_syntax",
    "edit_names",
    "escape",
    "has_syntax",
    "parse_composition",
    "parse_schedule",
    "parse_weights",
    "plain_text",
]

KEYWORD = re.compile(r"\b(?:BREAK|AND)\b")
SPECIAL = {"a1111": re.compile(r"[()\[\]\\]"), "comfy": re.compile(r"[()]")}


def parse_weights(text: str, rule: str) -> tuple[WeightedText | Break, ...]:
    """Return the texts of a prompt with their weights. Neighbors have different weights.

    Args:
        text: prompt without AND and edits.
        rule: a1111, comfy or none.

    Raises:
        UsageError: the prompt has too many nested brackets.
    """
    if rule == "none":
        return (WeightedText(text, 1.0),)
    return parse_a1111_weights(text) if rule == "a1111" else parse_comfy_weights(text)


def escape(text: str, rule: str = "a1111") -> str:
    """Return a prompt that `parse_weights` reads as this text with weight 1."""
    if rule == "none":
        return text
    escaped = SPECIAL[rule].sub(lambda match: f"\\{match[0]}", text)
    # A1111 removes other backslashes, so that one of them separates the letters of a keyword.
    return KEYWORD.sub(lambda match: f"{match[0][0]}\\{match[0][1:]}", escaped) if rule == "a1111" else escaped


def plain_text(text: str, rule: str) -> str:
    """Return a prompt without weights and BREAK, with resolved escapes."""
    parts = parse_weights(text, rule)
    return "".join(" " if isinstance(part, Break) else part.text for part in parts)


def edit_names(text: str) -> tuple[str, ...]:
    """Return texts for messages: the first edit of a prompt in quotes, and AND; only what the prompt contains."""
    edit = next(iterate_edits(parse_edits(text)), None)
    return (*([f"'{excerpt(edit.source)}'"] if edit else []), *(["AND"] if AND.search(text) else []))


def has_syntax(text: str, rule: str) -> bool:
    """Return whether a part of the prompt is not plain text: a weight, an escape, BREAK, AND or an edit.

    Raises:
        UsageError: the prompt has too many nested brackets.
    """
    if parse_weights(text, rule) != (WeightedText(text, 1.0),):
        return True
    return rule == "a1111" and bool(edit_names(text))
