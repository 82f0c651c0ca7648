"""What `--lora PATH[:SCALE]` says."""

import math
import re
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError

MAX_LORA_SCALE = 10.0
_SCALE_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


class LoraSpec(NamedTuple):
    """A LoRA by name or path, and how strongly it acts: 0 not at all, 1 as it was trained."""

    name: str
    scale: float = 1.0

    def __str__(self) -> str:
        """As it is typed; the scale always stands there, so that a colon in the path means nothing."""
        return f"{self.name}:{repr(self.scale).removesuffix('.0')}"

    @property
    def file_name(self) -> str:
        """The last part of the path, whichever system wrote it."""
        return PureWindowsPath(self.name).name


def parse_lora(text: str) -> LoraSpec:
    """`style.safetensors:0.8`; without a scale, 1. Paths may hold colons, such as `C:\\style.safetensors`.

    Raises:
        UsageError: there is no name, or the scale is not a number from -10 to 10.
    """
    name, colon, tail = text.rpartition(":")
    if not colon or not _SCALE_PATTERN.fullmatch(tail.strip()):
        if colon and name.lower().endswith(".safetensors") and not re.search(r"[\\/.]", tail):
            raise UsageError(f"The scale of a LoRA is a number from -10 to 10, not {tail!r}.", f"--lora {name}:0.8")
        name, tail = text, "1"
    scale = float(tail)
    if not name.strip():
        raise UsageError(f"lora takes PATH[:SCALE], not {text!r}.", "--lora my-style.safetensors:0.8")
    if not math.isfinite(scale) or abs(scale) > MAX_LORA_SCALE:
        raise UsageError(f"The scale of a LoRA is a number from -10 to 10, not {tail}.", f"--lora {name}:0.8")
    return LoraSpec(name, scale)


def normalize_lora_list(value: object) -> object:
    """What was given for `lora` in its one form, a tuple of texts; empty ones say nothing.

    Raises:
        UsageError: one of them is not `PATH[:SCALE]`.
    """
    given: Iterable[object] = [value] if isinstance(value, str | Path) else value if isinstance(value, list) else ()
    if isinstance(value, tuple):
        given = value
    elif not isinstance(value, str | Path | list):
        return value  # the setting's own check says what is wrong
    texts = tuple(str(item) if isinstance(item, Path) else item for item in given if item != "")
    for text in texts:
        if isinstance(text, str):
            parse_lora(text)
    return texts
