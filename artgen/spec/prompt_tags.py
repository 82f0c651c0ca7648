"""Parse the tags of prompts that AUTOMATIC1111 introduced: `<lora:NAME:SCALE>`.

A tag is `<KIND:ARGUMENTS>`. The arguments of a LoRA are its name, then the scale of the text encoders and the scale of
the denoiser, by position or as `te=` and `unet=` (`extra_networks_lora.py` of the web UI). One scale is for both.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.spec.lora import MAX_LORA_SCALE, SCALE_PATTERN, LoraSpec

LORA_KINDS = frozenset({"lora", "lyco"})
"""Kinds of the tags of LoRAs and of LyCORIS files, in lower case."""
HYPERNETWORK_KINDS = frozenset({"hypernet", "hypernetwork"})
MAX_TAG_CHARS_IN_MESSAGE = 80
# Linear time: no attempt at a position passes the next "<".
_TAG_PATTERN = re.compile(r"<(\w++):([^<>]++)>")
_UNCLOSED_PATTERN = re.compile(r"<(?:lora|lyco):[^<>]*+(?:<|\Z)", re.IGNORECASE)
_SPACED_PATTERN = re.compile(r"<(?:\s++(?:lora|lyco)\s*+|(?:lora|lyco)\s++):[^<>]*+>", re.IGNORECASE)


class PromptTag(NamedTuple):
    """Represent a tag of a prompt.

    Attributes:
        kind: kind in lower case, such as lora.
        arguments: text after the first colon.
        start: position in the prompt.
    """

    kind: str
    arguments: str
    start: int

    @property
    def is_lora(self) -> bool:
        """Return whether the tag names a LoRA."""
        return self.kind in LORA_KINDS

    def __str__(self) -> str:
        """Return the tag in quotes for messages, without its end if it is long."""
        text = f"<{self.kind}:{self.arguments}>"
        return f"'{text if len(text) <= MAX_TAG_CHARS_IN_MESSAGE else f'{text[:MAX_TAG_CHARS_IN_MESSAGE]}...'}'"


def find_tags(text: str) -> Iterator[PromptTag]:
    """Yield the tags of all kinds in a prompt, in order."""
    for match in _TAG_PATTERN.finditer(text):
        yield PromptTag(match[1].lower(), match[2], match.start())


def unclosed_tags(text: str) -> list[str]:
    """Return the texts of LoRA tags without the closing `>`."""
    return [match[0].removesuffix("<") for match in _UNCLOSED_PATTERN.finditer(text)]


def spaced_tags(text: str) -> list[str]:
    """Return the LoRA tags that are text because of white space before their name."""
    return [match[0] for match in _SPACED_PATTERN.finditer(text)]


def remove_tags(text: str, is_removed: Callable[[PromptTag], bool]) -> str:
    """Return a prompt without some of its tags. The words before and after a tag are not joined or removed.

    White space at both sides of a removed tag becomes the white space of one side. Words without white space between
    them and the tag get a space.

    Args:
        text: prompt.
        is_removed: called for each tag, in order.
    """
    kept: list[str] = []
    position = 0
    for match in _TAG_PATTERN.finditer(text):
        if not is_removed(PromptTag(match[1].lower(), match[2], match.start())):
            continue
        _append(kept, text[position : match.start()])
        position = match.end()
    if position == 0:
        return text
    _append(kept, text[position:])
    return "".join(kept).strip()


def _append(kept: list[str], text: str) -> None:
    """Append the text after a removed tag."""
    last = kept[-1][-1:] if kept else " "
    if last.isspace():
        text = text.lstrip(" \t")
    elif last.isalnum() and text[:1].isalnum():
        text = f" {text}"
    if text:
        kept.append(text)


def parse_lora_tag(tag: PromptTag) -> tuple[LoraSpec, list[str]]:
    """Return the LoRA of a tag, and notes about its arguments.

    The name may contain colons: it ends before the numbers at the end of the positional arguments.

    Raises:
        UsageError: the name is missing, or a scale is not a number from -10 to 10.
    """
    first, *others = (part.strip() for part in tag.arguments.split(":"))
    named = dict(part.split("=", 1) for part in others if "=" in part)
    positional = [part for part in others if "=" not in part]
    numbers = list(reversed(list(itertools.takewhile(SCALE_PATTERN.fullmatch, reversed(positional)))))
    if first.lower() == "civitai" and len(numbers) == len(positional):
        numbers = numbers[1:]  # the number of a model, not a scale
    name = ":".join([first, *positional[: len(positional) - len(numbers)]])
    if not name.strip(": "):
        raise UsageError(f"The tag {tag} names no LoRA.", "<lora:NAME:0.8>")
    text_scale = _parse_scale(tag, named.get("te", numbers[0] if numbers else "1"))
    scale = _parse_scale(tag, named.get("unet", numbers[1] if len(numbers) > 1 else str(text_scale)))
    notes = []
    if text_scale != scale:
        notes.append(
            f"{tag} sets scale {text_scale:g} for the text encoders and {scale:g} for the denoiser, as in "
            "AUTOMATIC1111."
        )
    unused = [*numbers[2:], *(f"{key}={value}" for key, value in named.items() if key not in ("te", "unet"))]
    if unused:
        notes.append(f"{', '.join(unused)[:MAX_TAG_CHARS_IN_MESSAGE]} in {tag} has no effect.")
    return LoraSpec(name, scale, None if text_scale == scale else text_scale), notes


def _parse_scale(tag: PromptTag, text: str) -> float:
    """Return a scale.

    Raises:
        UsageError: the text is not a number from -10 to 10.
    """
    if not SCALE_PATTERN.fullmatch(text) or not abs(float(text)) <= MAX_LORA_SCALE:
        raise scale_error(tag, text)
    return float(text)


def scale_error(tag: PromptTag, text: str) -> UsageError:
    """Return the error for a scale that is not a number from -10 to 10."""
    return UsageError(
        f"Cannot use {tag}: the scale of a LoRA must be a number from -10 to 10, not {text[:40]!r}.",
        "<lora:NAME:0.8>",
    )
