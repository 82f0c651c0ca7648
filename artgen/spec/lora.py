"""Parse the values of `--lora`: `PATH[:SCALE[:TEXT]]`."""

import re
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError

MAX_LORA_SCALE = 10.0
_FILE_PATTERN = re.compile(r"\.safetensors(:|$)", re.IGNORECASE)
SCALE_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
_EXAMPLE = "--lora my-style.safetensors:0.8"


class LoraSpec(NamedTuple):
    """Represent a LoRA by name or path, with its scales: 0 disables the LoRA, 1 is the scale of the training.

    Attributes:
        name: name or path.
        scale: scale in the denoiser.
        text_scale: scale in the text encoders; None is `scale`.
    """

    name: str
    scale: float = 1.0
    text_scale: float | None = None

    def __str__(self) -> str:
        """Return `name:scale` or `name:scale:text`, from which `parse_lora` reads the same LoRA."""
        is_ambiguous = bool(_split_scales(f"{self.name}:1")[1][1:])
        needs_both = is_ambiguous or self.effective_text_scale != self.scale
        scales = [self.scale, self.effective_text_scale] if needs_both else [self.scale]
        return ":".join([self.name, *(repr(scale).removesuffix(".0") for scale in scales)])

    @property
    def effective_text_scale(self) -> float:
        """Return the scale in the text encoders."""
        return self.scale if self.text_scale is None else self.text_scale

    @property
    def file_name(self) -> str:
        """Return the last part of a POSIX or Windows path."""
        return PureWindowsPath(self.name).name


def parse_lora(text: str) -> LoraSpec:
    """Parse a text such as `style.safetensors:0.8:0.5`. The default scale is 1. Paths may contain colons (`C:\\...`).

    Raises:
        UsageError: the name is missing, or a scale is not a number from -10 to 10.
    """
    name, scales = _split_scales(text)
    if not name.strip():
        raise UsageError(f"lora must be PATH[:SCALE[:TEXT]], not {text!r}.", _EXAMPLE)
    for scale in scales:
        if not SCALE_PATTERN.fullmatch(scale) or not abs(float(scale)) <= MAX_LORA_SCALE:
            shown = scale if SCALE_PATTERN.fullmatch(scale) else repr(scale)
            raise UsageError(f"The scale of a LoRA must be a number from -10 to 10, not {shown}.", f"--lora {name}:0.8")
    values = [float(scale) for scale in scales]
    return LoraSpec(
        name, values[0] if values else 1.0, values[1] if len(values) == 2 and values[1] != values[0] else None
    )


def _split_scales(text: str) -> tuple[str, list[str]]:
    """Return the name and the texts of at most two scales.

    After the name of a safetensors file, texts that are not numbers are also scales, if they contain no slash or dot.
    """
    name, scales = text, list[str]()
    while len(scales) < 2 and ":" in name and SCALE_PATTERN.fullmatch(name.rpartition(":")[2].strip()):
        if name.rpartition(":")[0].lower().endswith("civitai"):  # the number of a model, not a scale
            break
        name, _, scale = name.rpartition(":")
        scales.insert(0, scale.strip())
    head, colon, tail = name.rpartition(":")
    while colon and not scales[1:] and not re.search(r"[\\/.]", tail) and _FILE_PATTERN.search(head):
        name = head
        scales.insert(0, tail.strip())
        head, colon, tail = name.rpartition(":")
    return name, scales


def normalize_lora_list(value: object) -> object:
    """Convert a value of `lora` to a tuple of texts. Empty texts are removed.

    Raises:
        UsageError: a text is not `PATH[:SCALE[:TEXT]]`.
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
