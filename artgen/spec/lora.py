"""Parse the values of `--lora`: `PATH[:SCALE]`."""

import math
import re
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError

MAX_LORA_SCALE = 10.0
_SCALE_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


class LoraSpec(NamedTuple):
    """Represent a LoRA by name or path, with a scale: 0 disables the LoRA, 1 is the scale of the training."""

    name: str
    scale: float = 1.0

    def __str__(self) -> str:
        """Return `name:scale`. The scale is always included, so that a colon in the path is unambiguous."""
        return f"{self.name}:{repr(self.scale).removesuffix('.0')}"

    @property
    def file_name(self) -> str:
        """Return the last part of a POSIX or Windows path."""
        return PureWindowsPath(self.name).name


def parse_lora(text: str) -> LoraSpec:
    """Parse a text such as `style.safetensors:0.8`. The default scale is 1. Paths may contain colons (`C:\\...`).

    Raises:
        UsageError: the name is missing, or the scale is not a number from -10 to 10.
    """
    name, colon, tail = text.rpartition(":")
    if not colon or not _SCALE_PATTERN.fullmatch(tail.strip()):
        if colon and name.lower().endswith(".safetensors") and not re.search(r"[\\/.]", tail):
            raise UsageError(
                f"The scale of a LoRA must be a number from -10 to 10, not {tail!r}.", f"--lora {name}:0.8"
            )
        name, tail = text, "1"
    scale = float(tail)
    if not name.strip():
        raise UsageError(f"lora must be PATH[:SCALE], not {text!r}.", "--lora my-style.safetensors:0.8")
    if not math.isfinite(scale) or abs(scale) > MAX_LORA_SCALE:
        raise UsageError(f"The scale of a LoRA must be a number from -10 to 10, not {tail}.", f"--lora {name}:0.8")
    return LoraSpec(name, scale)


def normalize_lora_list(value: object) -> object:
    """Convert a value of `lora` to a tuple of texts. Empty texts are removed.

    Raises:
        UsageError: a text is not `PATH[:SCALE]`.
    """
    given: Iterable[object] = [value] if isinstance(value, str | Path) else value if isinstance(value, list) else ()
    if isinstance(value, tuple):
        given = value
    elif not isinstance(value, str | Path | list):
        return value  # `validate` raises the error.
    texts = tuple(str(item) if isinstance(item, Path) else item for item in given if item != "")
    for text in texts:
        if isinstance(text, str):
            parse_lora(text)
    return texts
