"""Parse the value of `--refiner`: `MODEL[:FRACTION]`."""

from typing import NamedTuple

from artgen.errors import UsageError

DEFAULT_BASE_FRACTION = 0.8
"""Fraction of the noise levels that the base model denoises in the example of diffusers."""


class RefinerSpec(NamedTuple):
    """Represent a refiner: the name of its model, and the fraction of the noise levels that the base model denoises."""

    model: str
    base_fraction: float = DEFAULT_BASE_FRACTION

    def __str__(self) -> str:
        """Return `MODEL:FRACTION`. The fraction is always included, so that a colon in a path is unambiguous."""
        return f"{self.model}:{self.base_fraction!r}"


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
    if not spec.model.strip() or not 0 < spec.base_fraction < 1:
        raise UsageError(
            f"refiner must be MODEL[:FRACTION] with a fraction between 0 and 1, not {text!r}.",
            "--refiner sdxl-refiner:0.8",
            settings=("refiner",),
        )
    return spec
