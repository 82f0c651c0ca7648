"""How a model was taught to see noise: what is added to clean latents, what the network shall say, and what it meant.

Latents are (batch, channels, height, width), float32; `times` are whole numbers from 0 to 999, (batch,).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from artgen.errors import ModelUnavailableError


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise of one model.

    Attributes:
        alphas_cumprod: the share of the variance that is signal, for each time, (times,): 1 - noise; 0 at the last time of models
            with zero terminal SNR (Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV
            2024, arXiv 2305.08891).
        prediction_type: `epsilon` the noise, `v_prediction` the velocity (Salimans and Ho, "Progressive distillation for
            fast sampling of diffusion models", ICLR 2022), `sample` the clean latents, or `flow`, the way from clean to
            noise (Lipman et al., "Flow matching for generative modeling", ICLR 2023).
    """

    alphas_cumprod: Tensor
    prediction_type: str

    def to(self, device: torch.device) -> "NoiseSchedule":
        """The same with its numbers on a device, where nothing waits for them."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))

    @property
    def num_train_timesteps(self) -> int:
        """How many there are."""
        return len(self.alphas_cumprod)

    def _alpha_sigma(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What clean latents and noise are multiplied with, each (batch, 1, 1, 1)."""
        kept = self.alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)
        if self.prediction_type == "flow":
            return 1 - self._flow_sigma(timesteps), self._flow_sigma(timesteps)
        return kept.sqrt(), (1 - kept).sqrt()

    def _flow_sigma(self, timesteps: Tensor) -> Tensor:
        return ((timesteps.float() + 1) / self.num_train_timesteps).view(-1, 1, 1, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is shown."""
        signal, amount = self._alpha_sigma(timesteps)
        return signal * latents + amount * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network shall say."""
        signal, amount = self._alpha_sigma(timesteps)
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "v_prediction":
            return signal * noise - amount * latents
        return noise - latents if self.prediction_type == "flow" else latents

    def predict_x0(self, noisy_latents: Tensor, model_output: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that the network meant by what it said."""
        signal, amount = self._alpha_sigma(timesteps)
        if self.prediction_type == "epsilon":
            return (noisy_latents - amount * model_output) / signal.clamp(min=1e-4)
        if self.prediction_type == "v_prediction":
            return signal * noisy_latents - amount * model_output
        return noisy_latents - amount * model_output if self.prediction_type == "flow" else model_output

    def sample_timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Times to train at, (count,): all alike; for flow the middle ones more often.

        The latter by a normal distribution's logistic, as in Esser et al., "Scaling rectified flow transformers for
        high-resolution image synthesis", ICML 2024, arXiv 2403.03206.
        """
        if self.prediction_type == "flow":
            share = torch.randn(count, generator=generator).sigmoid()
            return (share * self.num_train_timesteps).long().clamp(max=self.num_train_timesteps - 1)
        return torch.randint(0, self.num_train_timesteps, (count,), generator=generator)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal over noise, as variances, (batch,)."""
        signal, amount = self._alpha_sigma(timesteps)
        return (signal / amount.clamp(min=1e-6)).square().flatten()

    def min_snr_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Min-SNR weights of the squared error in what the network says, (batch,); ones for gamma 0 and for flow.

        Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023, arXiv 2303.09556: in
        clean latents the error weighs min(SNR, gamma); an error in the noise is SNR, one in the velocity SNR + 1 times
        that.
        """
        if not gamma or self.prediction_type == "flow":
            return torch.ones_like(timesteps, dtype=torch.float32)
        snr = self.snr(timesteps)
        least = snr.clamp(max=gamma)
        by = {"epsilon": snr.clamp(min=1e-8), "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
        return least / by[self.prediction_type]


def read_noise_schedule(scheduler: Any, model_name: str) -> NoiseSchedule:
    """The noise that a pipeline's scheduler says its model was taught with.

    Args:
        scheduler: the pipeline's own.
        model_name: of the model, for the error.

    Raises:
        ModelUnavailableError: a kind of prediction that is not known.
    """
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return NoiseSchedule(torch.linspace(1, 0, int(config.num_train_timesteps)), "flow")
    prediction = str(config.get("prediction_type", "epsilon"))
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise ModelUnavailableError(
            f"{model_name} predicts {prediction!r}, which is not trained here.", "Choose another --model."
        )
    return NoiseSchedule(DDPMScheduler.from_config(config).alphas_cumprod.float(), prediction)
