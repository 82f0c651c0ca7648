"""Implement the forward process x_t = alpha_t * x_0 + sigma_t * epsilon and the conversions between model outputs.

alpha_t = sqrt(alpha_bar_t) and sigma_t = sqrt(1 - alpha_bar_t) (Ho et al. 2020, arXiv 2006.11239, equation 4). Flow
matching uses alpha_t = 1 - sigma_t (Lipman et al. 2023, arXiv 2210.02747). The formulas accept NumPy arrays and torch
tensors. torch is imported inside functions, because `artgen noise` in pixel space runs without torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from artgen.errors import ModelUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

NUM_TRAIN_TIMESTEPS = 1000
"""Timesteps from the image to pure noise."""

MIN_COEFFICIENT = 1e-4
"""Lower bound of alpha and sigma in a division. alpha is 0 at the last timestep of models with zero terminal SNR."""

SCHEDULE_CONFIGS: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
}
"""Scheduler configurations of diffusers: DDPM (Ho et al. 2020), Stable Diffusion (Rombach et al. 2022), Improved DDPM
(Nichol and Dhariwal 2021) and flow matching (Lipman et al. 2023).
"""

Coefficient = TypeVar("Coefficient", float, "Tensor")
Array = TypeVar("Array", NDArray[np.float32], "Tensor")


@dataclass(frozen=True)
class NoiseLevel(Generic[Coefficient]):
    """Represent the level of a noisy sample, sample = alpha * x0 + sigma * epsilon.

    Attributes:
        alpha: factor of x0; a tensor of shape (B, 1, 1, 1) for a batch with different levels.
        sigma: factor of epsilon; the same shape.
        timestep: 0 (image) to 1000 (noise); None if unknown.
        input_scale: factor from the sample to the network's input. 1 for variance-preserving samples and for flow
            matching; 1 / sqrt(1 + sigma^2) for x0 + sigma * epsilon (Karras et al. 2022, arXiv 2206.00364).
    """

    alpha: Coefficient
    sigma: Coefficient
    timestep: int | None = None
    input_scale: float = 1.0

    @classmethod
    def from_alpha_bar(cls, alpha_bar: float, timestep: int | None = None) -> "NoiseLevel[float]":
        """Return the variance-preserving level of a cumulative product of alphas."""
        return NoiseLevel(float(alpha_bar**0.5), float((1 - alpha_bar) ** 0.5), timestep)

    @classmethod
    def from_alpha(cls, alpha: float) -> "NoiseLevel[float]":
        """Return the variance-preserving level of a factor of x0."""
        return NoiseLevel(alpha, float((1 - alpha**2) ** 0.5))

    @classmethod
    def from_flow_time(cls, time: float, timestep: int | None = None) -> "NoiseLevel[float]":
        """Return the level of flow matching at a time from 0 (image) to 1 (noise)."""
        return NoiseLevel(1 - time, time, timestep)

    @classmethod
    def from_sigma(cls, sigma: float) -> "NoiseLevel[float]":
        """Return the level of an unscaled sample, x0 + sigma * epsilon."""
        return NoiseLevel(1.0, sigma, None, 1 / math.sqrt(1 + sigma**2))

    @property
    def snr_db(self: "NoiseLevel[float]") -> float | None:
        """Return the signal-to-noise ratio of unit-variance data in decibels; None if alpha or sigma is 0."""
        if not self.sigma or not self.alpha:
            return None
        return 20 * math.log10(self.alpha / self.sigma)


def add_noise(clean: Array, noise: Array, level: NoiseLevel[Any]) -> Array:
    """Return the noisy sample at a level; all shapes are equal."""
    noisy: Array = level.alpha * clean + level.sigma * noise
    return noisy


def predict_x0(model_output: Array, sample: Array, level: NoiseLevel[Any], prediction_type: str) -> Array:
    """Return the x0 that a model output implies, in the shape of `sample`.

    Sources: epsilon: Ho et al. 2020; v: Salimans and Ho 2022, arXiv 2202.00512; flow: Lipman et al. 2023.

    Args:
        model_output: output of the network for the input `level.input_scale * sample`.
        sample: noisy sample.
        level: level of `sample`.
        prediction_type: epsilon, v_prediction, sample or flow.

    Raises:
        ValueError: the prediction type is unknown.
    """
    x0: Array
    match prediction_type:
        case "epsilon":
            x0 = (sample - level.sigma * model_output) / _at_least_min(level.alpha)
        case "v_prediction":
            scale = level.input_scale
            x0 = level.alpha * scale**2 * sample - level.sigma * scale * model_output
        case "flow":
            x0 = sample - level.sigma * model_output
        case "sample":
            x0 = model_output
        case _:
            raise ValueError(f"Unknown prediction type '{prediction_type}'.")
    return x0


def predict_noise(model_output: Array, sample: Array, level: NoiseLevel[Any], prediction_type: str) -> Array:
    """Return the epsilon that a model output implies; arguments and errors as for `predict_x0`."""
    epsilon: Array
    match prediction_type:
        case "epsilon":
            epsilon = model_output
        case "v_prediction":
            scale = level.input_scale
            epsilon = level.sigma * scale**2 * sample + level.alpha * scale * model_output
        case "flow":
            epsilon = sample + level.alpha * model_output
        case "sample":
            epsilon = (sample - level.alpha * model_output) / _at_least_min(level.sigma)
        case _:
            raise ValueError(f"Unknown prediction type '{prediction_type}'.")
    return epsilon


def training_target(clean: Array, noise: Array, level: NoiseLevel[Any], prediction_type: str) -> Array:
    """Return the model output that a perfect model gives for `add_noise(clean, noise, level)`.

    Raises:
        ValueError: the prediction type is unknown.
    """
    target: Array
    match prediction_type:
        case "epsilon":
            target = noise
        case "v_prediction":
            target = level.alpha * noise - level.sigma * clean
        case "flow":
            target = noise - clean
        case "sample":
            target = clean
        case _:
            raise ValueError(f"Unknown prediction type '{prediction_type}'.")
    return target


def snr(level: NoiseLevel[Coefficient]) -> Coefficient:
    """Return the signal-to-noise ratio alpha^2 / sigma^2 of unit-variance data."""
    ratio: Coefficient = (level.alpha / _at_least_min(level.sigma)) ** 2
    return ratio


def _at_least_min(coefficient: Any) -> Any:
    if hasattr(coefficient, "clamp"):
        return coefficient.clamp(min=MIN_COEFFICIENT)
    return max(coefficient, MIN_COEFFICIENT)


def is_flow_matching(class_name: str) -> bool:
    """Return whether a scheduler class of diffusers is a flow-matching scheduler."""
    return class_name.startswith("FlowMatch")


def read_prediction_type(config: Mapping[str, Any], class_name: str) -> str:
    """Return the prediction type of a scheduler: flow, or the value in its configuration (default: epsilon)."""
    return "flow" if is_flow_matching(class_name) else str(config.get("prediction_type") or "epsilon")


def read_betas(config: Mapping[str, Any], dtype: Literal["fp32", "fp64"] = "fp32") -> NDArray[np.floating]:
    """Return the variance that each training timestep adds, shape (timesteps,).

    Args:
        config: configuration of a diffusers scheduler, or a value of `SCHEDULE_CONFIGS`.
        dtype: fp32: the betas of diffusers' schedulers, rescaled for zero terminal SNR if configured.
            fp64: the same formulas for 1000 timesteps in double precision, without torch and without rescaling.

    Raises:
        ModelUnavailableError: the beta schedule is unknown (fp64).
    """
    if dtype == "fp32":
        from diffusers import DDPMScheduler

        return np.asarray(DDPMScheduler.from_config(dict(config)).betas.numpy())
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], np.float64)
        if betas.shape == (NUM_TRAIN_TIMESTEPS,):
            return betas
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(start, end, NUM_TRAIN_TIMESTEPS)
        case "scaled_linear":
            return np.asarray(np.linspace(start**0.5, end**0.5, NUM_TRAIN_TIMESTEPS) ** 2)
        case "squaredcos_cap_v2":
            times = np.arange(NUM_TRAIN_TIMESTEPS + 1) / NUM_TRAIN_TIMESTEPS
            alpha_bars = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
            return np.asarray(np.minimum(1 - alpha_bars[1:] / alpha_bars[:-1], 0.999))
        case other:
            raise ModelUnavailableError(
                f"Cannot read the noise schedule: the beta schedule '{other}' is not supported.",
                f"Omit --model and use --schedule {'|'.join(SCHEDULE_CONFIGS)}.",
            )


def read_alphas_cumprod(config: Mapping[str, Any]) -> "Tensor":
    """Return alpha_bar of each training timestep as diffusers computes it, shape (timesteps,), float32."""
    from diffusers import DDPMScheduler

    alphas_cumprod: Tensor = DDPMScheduler.from_config(dict(config)).alphas_cumprod
    return alphas_cumprod.float()


def unscaled_sigmas(alphas_cumprod: Any) -> Any:
    """Return sigma / alpha, the noise of x0 + sigma * epsilon, for a tensor or an array of alpha_bar."""
    return ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5


def noise_levels(config: Mapping[str, Any], count: int) -> list[NoiseLevel[float]]:
    """Return evenly spaced levels from timestep 0 to 1000.

    Args:
        config: configuration of a diffusers scheduler, or a value of `SCHEDULE_CONFIGS`.
        count: number of levels, at least 2.

    Raises:
        ModelUnavailableError: the beta schedule is unknown.
    """
    timesteps = [round(t) for t in np.linspace(0, NUM_TRAIN_TIMESTEPS, count)]
    if is_flow_matching(str(config.get("_class_name", ""))):
        return [NoiseLevel.from_flow_time(t / NUM_TRAIN_TIMESTEPS, t) for t in timesteps]
    alpha_bars = np.concatenate([[1.0], np.cumprod(1 - read_betas(config, "fp64"))])
    return [NoiseLevel.from_alpha_bar(float(alpha_bars[t]), t) for t in timesteps]
