"""Represent the noise schedule that a latent diffusion model was trained with, for losses on batches of timesteps."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from artgen.engine.diffusion.noise_schedule import NoiseLevel, read_alphas_cumprod, read_prediction_type, snr
from artgen.errors import ModelUnavailableError


@dataclass(frozen=True)
class NoiseSchedule:
    """Store the levels of all training timesteps of a model.

    Attributes:
        alphas: factor of the clean latents, shape (timesteps,), float32; 0 at the last timestep of models with zero
            terminal SNR (Lin et al. 2024, arXiv 2305.08891).
        sigmas: factor of the noise, shape (timesteps,), float32.
        prediction_type: epsilon, v_prediction, sample or flow.
    """

    alphas: Tensor
    sigmas: Tensor
    prediction_type: str

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Return the schedule with its tensors on a device."""
        return replace(self, alphas=self.alphas.to(device), sigmas=self.sigmas.to(device))

    @property
    def num_train_timesteps(self) -> int:
        """Return the number of training timesteps."""
        return len(self.alphas)

    def level_at(self, timesteps: Tensor) -> NoiseLevel[Tensor]:
        """Return the levels of timesteps (B,); alpha and sigma have the shape (B, 1, 1, 1)."""
        alphas, sigmas = (table.to(timesteps.device)[timesteps] for table in (self.alphas, self.sigmas))
        return NoiseLevel(alphas.view(-1, 1, 1, 1), sigmas.view(-1, 1, 1, 1))

    def sample_timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random training timesteps, shape (count,).

        The distribution is uniform; for flow it is logit-normal (Esser et al. 2024, arXiv 2403.03206).
        """
        if self.prediction_type == "flow":
            fractions = torch.randn(count, generator=generator).sigmoid()
            return (fractions * self.num_train_timesteps).long().clamp(max=self.num_train_timesteps - 1)
        return torch.randint(0, self.num_train_timesteps, (count,), generator=generator)

    def min_snr_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Return the min-SNR weights of the squared error of the model output, shape (B,).

        Hang et al. 2023, arXiv 2303.09556: the weight of the squared error of x0 is min(SNR, gamma). The squared error
        of epsilon is SNR times the squared error of x0, the squared error of v is SNR + 1 times.

        Args:
            timesteps: training timesteps, shape (B,).
            gamma: upper bound of the weight of x0; 0 returns ones. Flow matching always returns ones.
        """
        if not gamma or self.prediction_type == "flow":
            return torch.ones_like(timesteps, dtype=torch.float32)
        ratios = snr(self.level_at(timesteps)).flatten()
        divisors = {"epsilon": ratios.clamp(min=1e-8), "v_prediction": ratios + 1, "sample": torch.ones_like(ratios)}
        return ratios.clamp(max=gamma) / divisors[self.prediction_type]


def read_noise_schedule(scheduler: Any, model_name: str) -> NoiseSchedule:
    """Return the noise schedule that a model was trained with.

    Args:
        scheduler: scheduler of the model's pipeline.
        model_name: name in error messages.

    Raises:
        ModelUnavailableError: the prediction type cannot be trained.
    """
    config = scheduler.config
    prediction_type = read_prediction_type(config, type(scheduler).__name__)
    if prediction_type == "flow":
        count = int(config.num_train_timesteps)
        sigmas = (torch.arange(count).float() + 1) / count
        return NoiseSchedule(1 - sigmas, sigmas, prediction_type)
    if prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise ModelUnavailableError(
            f"Cannot train '{model_name}': the prediction type '{prediction_type}' is not supported.",
            "Choose another --model.",
        )
    alphas_cumprod = read_alphas_cumprod(config)
    return NoiseSchedule(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), prediction_type)
