"""Parse the value of `--hires`: `SCALE[:STRENGTH]`."""

import math
from typing import NamedTuple

from artgen.errors import UsageError

DEFAULT_HIRES_STRENGTH = 0.4
MIN_LATENT_STRENGTH = 0.5
"""Strength of the second pass that removes the artifacts of interpolated latents."""
MAX_HIRES_SCALE = 8.0


class HiresSpec(NamedTuple):
    """Represent an enlargement: the factor of both sides, and the strength of the second pass, 0 to 1."""

    scale: float
    strength: float = DEFAULT_HIRES_STRENGTH

    def __str__(self) -> str:
        """Return `SCALE:STRENGTH`."""
        return f"{self.scale:g}:{self.strength:g}"


def parse_hires(text: str) -> HiresSpec:
    """Parse a text such as `2` or `1.5:0.5`.

    Raises:
        UsageError: the text does not have this form, or a number is outside its limits.
    """
    scale, colon, strength = text.strip().removeprefix("x").partition(":")
    try:
        spec = HiresSpec(float(scale), float(strength)) if colon else HiresSpec(float(scale))
    except ValueError:
        spec = HiresSpec(math.nan)
    if not (1 < spec.scale <= MAX_HIRES_SCALE and 0 < spec.strength <= 1):
        raise UsageError(
            f"hires must be SCALE[:STRENGTH] with a scale above 1, up to {MAX_HIRES_SCALE:g}, and a strength above 0, "
            f"up to 1, not {text!r}.",
            "--hires 2:0.4",
            settings=("hires",),
        )
    return spec


def enlarged_size(size: tuple[int, int], scale: float, multiple: int) -> tuple[int, int]:
    """Return the width and height of an enlarged image in pixels, rounded to multiples that the model supports."""
    width, height = (max(multiple, round(side * scale / multiple) * multiple) for side in size)
    return width, height
