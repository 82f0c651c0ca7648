"""Parse the value of `--refiner`: `MODEL[:FRACTION]`."""

from typing import NamedTuple

from artgen.errors import UsageError

DEFAULT_SWITCH = 0.8
"""Fraction of the noise levels that the base model denoises in the example of diffusers."""


class RefinerSpec(NamedTuple):
    """Represent a refiner: the name of its model, and the fraction of the noise levels that the base model denoises."""

    model: str
    switch: float = DEFAULT_SWITCH

    def __str__(self) -> str:
        """Return `MODEL:FRACTION`. The fraction is always included, so that a colon in a path is unambiguous."""
        return f"{self.model}:{self.switch!r}"


def parse_refiner(text: str) -> RefinerSpec:
    """Parse a text such as `sdxl-refiner:0.8`. Paths may contain colons (`C:\\...`).

    Raises:
        UsageError: the model is missing, or the fraction is not between 0 and 1.
    """
    model, colon, tail = text.rpartition(":")
    try:
        spec = RefinerSpec(model, float(tail)) if colon else RefinerSpec(text)
    except ValueError:
        spec = RefinerSpec(text)
    if not spec.model.strip() or not 0 < spec.switch < 1:
        raise UsageError(
            f"refiner must be MODEL[:FRACTION] with a fraction between 0 and 1, not {text!r}.",
            "--refiner sdxl-refiner:0.8",
            settings=("refiner",),
        )
    return spec
