"""Define the request of an anomaly search."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from artgen.errors import UsageError
from artgen.spec.settings import AnomalySettings, DeviceSettings, ModelRef, validate

DEFAULT_PIXEL_LEVELS = (25.0, 50.0, 100.0, 200.0, 400.0)
"""Noise levels of the pixel method in gray levels."""
DEFAULT_LATENT_LEVELS = (0.3, 0.5, 0.7, 0.85)
"""Noise levels of the latent method as strengths."""
MAX_PIXEL_LEVEL = 1600.0
"""Highest noise level in gray levels; higher levels need a downscale factor above 16."""
MAX_NUM_LEVELS = 16


@dataclass(frozen=True, kw_only=True)
class Anomaly(DeviceSettings, ModelRef, AnomalySettings):
    """Request the anomaly score and heat map of images.

    Raises:
        UsageError: a value has the wrong type or is outside its limits (on construction).
    """

    def __post_init__(self) -> None:
        if isinstance(self.fit, str):
            object.__setattr__(self, "fit", Path(self.fit))
        if not isinstance(self.noise_levels, str | None):  # Python callers may pass numbers.
            levels = self.noise_levels if isinstance(self.noise_levels, Iterable) else [self.noise_levels]
            texts = [f"{level:g}" if isinstance(level, float) else str(level) for level in levels]
            object.__setattr__(self, "noise_levels", ",".join(texts))
        validate(self)
        if self.prompt and self.method == "pixel":
            raise UsageError("The method pixel does not support a prompt.", "Omit --prompt, or use --method latent.")
        if self.noise_levels is not None:
            self.parsed_levels()

    @classmethod
    def from_settings(cls, *groups: Any) -> Self:
        """Return a request from the settings groups of a command."""
        return cls(**{f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)})

    @property
    def resolved_method(self) -> str:
        """Return the method, pixel or latent. The default is latent with a prompt, else pixel."""
        return self.method or ("latent" if self.prompt else "pixel")

    def parsed_levels(self) -> tuple[float, ...]:
        """Return the noise levels in increasing order: gray levels (pixel) or strengths (latent).

        Raises:
            UsageError: the value is not a list of numbers, or a number is outside the limits.
        """
        is_pixel = self.resolved_method == "pixel"
        if self.noise_levels is None:
            return DEFAULT_PIXEL_LEVELS if is_pixel else DEFAULT_LATENT_LEVELS
        minimum, maximum, unit = (1.0, MAX_PIXEL_LEVEL, "gray levels") if is_pixel else (0.02, 1.0, "strengths")
        try:
            levels = tuple(sorted({float(text) for text in self.noise_levels.split(",")}))
        except ValueError:
            raise UsageError(
                f"noise_levels must be comma-separated numbers, not '{self.noise_levels}'.", "--noise-levels 25,50"
            ) from None
        if not levels or len(levels) > MAX_NUM_LEVELS or not all(minimum <= level <= maximum for level in levels):
            raise UsageError(
                f"noise_levels must be 1 to {MAX_NUM_LEVELS} {unit} from {minimum:g} to {maximum:g}, "
                f"not '{self.noise_levels}'."
            )
        return levels
