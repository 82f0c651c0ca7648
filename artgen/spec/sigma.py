"""Parse the setting `sigma` of denoise requests."""

import re
from typing import NamedTuple

from artgen.errors import UsageError

MAX_SIGMA = 255
MIN_SCALE, MAX_SCALE = 0.1, 10


class SigmaSpec(NamedTuple):
    """Represent a noise level.

    Attributes:
        sigma: standard deviation in gray levels, 0 to 255; None if it is estimated.
        scale: factor of the estimate, 0.1 to 10.
    """

    sigma: float | None
    scale: float = 1.0


def parse_sigma(text: str | None) -> SigmaSpec:
    """Parse `15`, `auto` or `auto*1.2`; None means `auto`.

    Raises:
        UsageError: the text is not a noise level, or a number is outside its limits.
    """
    word = (text or "auto").strip().casefold()
    if automatic := re.fullmatch(r"auto(?:\s*\*\s*(\d+\.?\d*|\.\d+))?", word):
        scale = float(automatic[1] or 1)
        if not MIN_SCALE <= scale <= MAX_SCALE:
            raise UsageError(f"The factor of the estimated sigma must be {MIN_SCALE} to {MAX_SCALE}, not {scale:g}.")
        return SigmaSpec(None, scale)
    try:
        sigma = float(word)
    except ValueError:
        raise UsageError(
            f"sigma must be a number, auto or auto*1.2, not {text!r}.", "The unit is gray levels: --sigma 15."
        ) from None
    if not 0 <= sigma <= MAX_SIGMA:
        raise UsageError(f"sigma must be 0 to {MAX_SIGMA} gray levels, not {text}.")
    return SigmaSpec(sigma)
