"""Define the initial noise of an image: the noise of a seed, mixed with the noise of other seeds."""

import re
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.spec.settings import MAX_SEED, describe_value


@dataclass(frozen=True)
class SeedNoise:
    """Represent the noise of a seed, mixed with the noise of a variation seed.

    Attributes:
        seed: seed of the noise.
        variation_seed: seed of the second noise.
        variation_strength: amount of the second noise, 0 to 1; 0: the noise of `seed` alone.
    """

    seed: int
    variation_seed: int = 0
    variation_strength: float = 0.0

    def __str__(self) -> str:
        """Return the value of the setting `morph_seed`."""
        if not self.variation_strength:
            return str(self.seed)
        return f"{self.seed}:{self.variation_seed}:{self.variation_strength!r}"


@dataclass(frozen=True)
class InitialNoise:
    """Represent the initial noise of a request.

    Attributes:
        first: noise of the seed and the variation seed.
        second: noise of the second image of a morph.
        position: amount of the second noise, 0 to 1.
    """

    first: SeedNoise
    second: SeedNoise | None = None
    position: float = 0.0

    @property
    def is_mixed(self) -> bool:
        """Return whether the noise is not the noise of one seed."""
        return bool(self.first.variation_strength or (self.second is not None and self.position))


def parse_seed_noise(text: str) -> SeedNoise:
    """Parse `SEED` or `SEED:VARIATION_SEED:STRENGTH`.

    Raises:
        UsageError: the text has another form, or a number is outside its limits.
    """
    match = re.fullmatch(r"(\d{1,20})(?::(\d{1,20}):(\d*\.?\d+(?:e-\d+)?))?", text.strip(), re.ASCII)
    if match is not None:
        found = SeedNoise(int(match[1]), int(match[2] or 0), float(match[3] or 0))
        if max(found.seed, found.variation_seed) <= MAX_SEED and found.variation_strength <= 1:
            return found
    raise UsageError(
        f"morph_seed must be SEED or SEED:VARIATION_SEED:STRENGTH, not {describe_value(text)}.",
        "--morph-seed 7, or --morph-seed 7:12:0.2",
        settings=("morph_seed",),
    )


def initial_noise(request: Any) -> InitialNoise:
    """Return the initial noise of a complete request of any task."""
    first = SeedNoise(
        int(request.seed or 0),
        int(getattr(request, "variation_seed", None) or 0),
        float(getattr(request, "variation_strength", None) or 0),
    )
    second = getattr(request, "morph_seed", None)
    if second is None:
        return InitialNoise(first)
    return InitialNoise(first, parse_seed_noise(second), float(request.morph_position or 0))
