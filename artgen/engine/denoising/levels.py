"""Noise levels: from a standard deviation in grey levels to the timestep at which a model has that much noise.

A picture y = x + n with n ~ N(0, sigma^2), times sqrt(alpha_bar_t), is the model's own state at the timestep t where
sqrt((1 - alpha_bar_t) / alpha_bar_t) is sigma in the model's units (Li et al., Stimulating Diffusion Model for Image
Denoising via Adaptive Embedding and Ensembling, TPAMI 2024, arXiv 2307.03992).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diffusers import DDIMScheduler

from artgen.errors import ModelUnavailableError

PIXEL_HALF_RANGE = 127.5
"""Grey levels to one unit of a model, whose pictures are -1 to 1."""

LAST_SIGMA_RATIO = 0.4
"""The noise at the last step, as a share of the first's. Of what is left below it, small networks see their own errors
as much as noise: on photographs at sigma 15, 25 and 50, PSNR and perceptual distance of ten steps are better than when
the levels go down to nothing."""


@dataclass(frozen=True)
class SigmaSchedule:
    """The noise levels a model was trained for, weakest first.

    Attributes:
        sigmas: standard deviations in grey levels (0..255), one for each timestep 0, 1, 2, ...
        prediction_type: what the model predicts: epsilon, sample or v_prediction.
    """

    sigmas: np.ndarray
    prediction_type: str

    @property
    def min_sigma(self) -> float:
        """Standard deviation of the weakest noise that the model knows, in grey levels."""
        return float(self.sigmas[0])

    @property
    def max_sigma(self) -> float:
        """Standard deviation of the strongest noise that the model knows, in grey levels."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """The timestep, rarely a whole one, with noise of `sigma` grey levels; log sigma is linear between two."""
        return float(np.interp(np.log(sigma), np.log(self.sigmas), np.arange(len(self.sigmas))))

    def sigmas_for(self, sigma: float, steps: int) -> list[float]:
        """Levels for a number of steps, from `sigma` evenly down to `LAST` of it; each step ends at the next one.

        The last step ends at no noise at all, so one step is the posterior mean at `sigma`.
        """
        return [float(level) for level in np.linspace(sigma, max(LAST_SIGMA_RATIO * sigma, self.min_sigma), steps)]


def sigma_schedule(config: Mapping[str, Any], model_name: str) -> SigmaSchedule:
    """The levels that a scheduler's configuration describes; `model_name` is the model's, for messages.

    Raises:
        ModelUnavailableError: noise that is not the usual variance-preserving kind.
    """
    schedule = str(config.get("beta_schedule", ""))
    prediction = str(config.get("prediction_type") or "epsilon")
    known = schedule in ("linear", "scaled_linear", "squaredcos_cap_v2") or config.get("trained_betas") is not None
    if not known or prediction not in ("epsilon", "sample", "v_prediction"):
        raise ModelUnavailableError(
            f"{model_name} has a {config.get('_class_name', 'scheduler')} that artgen cannot read noise levels from.",
            "Use a DDPM or DDIM model, or the bundled one: leave --model out.",
        )
    # In double precision: alpha_bar of the weakest levels is 1 in fp32.
    betas = DDIMScheduler.from_config(dict(config)).betas.double().numpy()
    kept = np.cumprod(1 - betas)
    with np.errstate(divide="ignore"):
        sigmas = PIXEL_HALF_RANGE * np.sqrt((1 - kept) / kept)
    return SigmaSchedule(sigmas[np.isfinite(sigmas)], prediction)
