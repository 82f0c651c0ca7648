"""What is asked when pictures are looked at for what is not normal."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from artgen.errors import UsageError
from artgen.spec.settings import AnomalySettings, DeviceSettings, ModelRef, validate

DEFAULT_PIXEL_LEVELS = (25.0, 50.0, 100.0, 200.0, 400.0)
DEFAULT_LATENT_LEVELS = (0.3, 0.5, 0.7, 0.85)
MAX_PIXEL_LEVEL = 1600.0
"""Grey levels; beyond, a picture would be made smaller than sixteen times."""


@dataclass(frozen=True, kw_only=True)
class Anomaly(DeviceSettings, ModelRef, AnomalySettings):
    """How surprising pictures are, and where.

    Raises:
        UsageError: on construction, for a value outside its setting's type or limits.
    """

    def __post_init__(self) -> None:
        if isinstance(self.fit, str):
            object.__setattr__(self, "fit", Path(self.fit))
        if not isinstance(self.noise_levels, str | None):  # as Python writes them
            object.__setattr__(self, "noise_levels", ",".join(f"{level:g}" for level in self.levels))
        validate(self)
        if self.prompt and self.method == "pixel":
            raise UsageError("The method pixel takes no prompt.", "Leave --prompt out, or use --method latent.")
        if self.noise_levels is not None:
            self.parsed_levels()

    @classmethod
    def from_settings(cls, *groups: Any) -> Self:
        """A request from the groups of settings that a command received."""
        return cls(**{f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)})

    @property
    def resolved_method(self) -> str:
        """pixel or latent."""
        return self.method or ("latent" if self.prompt else "pixel")

    def parsed_levels(self) -> tuple[float, ...]:
        """The levels, weakest first: grey levels (pixel) or strengths (latent).

        Raises:
            UsageError: no numbers, or not such numbers.
        """
        if self.noise_levels is None:
            return DEFAULT_PIXEL_LEVELS if self.resolved_method == "pixel" else DEFAULT_LATENT_LEVELS
        least, most, unit = (
            (1.0, MAX_PIXEL_LEVEL, "grey levels") if self.resolved_method == "pixel" else (0.02, 1.0, "strengths")
        )
        try:
            found = tuple(sorted({float(text) for text in self.noise_levels.split(",")}))
        except ValueError:
            raise UsageError(
                f"noise_levels must be numbers with commas, not {self.noise_levels!r}.", "--noise-levels 25,50"
            ) from None
        if not found or len(found) > 16 or not all(least <= level <= most for level in found):
            raise UsageError(
                f"noise_levels must be 1 to 16 {unit} from {least:g} to {most:g}, not {self.noise_levels!r}."
            )
        return found
