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
class Noising:
    """The noise of one model.

    Attributes:
        kept: the share of the variance that is signal, for each time, (times,): 1 - noise; 0 at the last time of models
            with zero terminal SNR (Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV
            2024, arXiv 2305.08891).
        prediction: `epsilon` the noise, `v_prediction` the velocity (Salimans and Ho, "Progressive distillation for
            fast sampling of diffusion models", ICLR 2022), `sample` the clean latents, or `flow`, the way from clean to
            noise (Lipman et al., "Flow matching for generative modeling", ICLR 2023).
    """

    kept: Tensor
    prediction: str

    def on(self, device: torch.device) -> "Noising":
        """The same with its numbers on a device, where nothing waits for them."""
        return replace(self, kept=self.kept.to(device))

    @property
    def times(self) -> int:
        """How many there are."""
        return len(self.kept)

    def _shares(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """What clean latents and noise are multiplied with, each (batch, 1, 1, 1)."""
        kept = self.kept.to(times.device)[times].view(-1, 1, 1, 1)
        if self.prediction == "flow":
            return 1 - self._level(times), self._level(times)
        return kept.sqrt(), (1 - kept).sqrt()

    def _level(self, times: Tensor) -> Tensor:
        return ((times.float() + 1) / self.times).view(-1, 1, 1, 1)

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network is shown."""
        signal, amount = self._shares(times)
        return signal * clean + amount * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network shall say."""
        signal, amount = self._shares(times)
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "v_prediction":
            return signal * noise - amount * clean
        return noise - clean if self.prediction == "flow" else clean

    def clean(self, noisy: Tensor, said: Tensor, times: Tensor) -> Tensor:
        """The clean latents that the network meant by what it said."""
        signal, amount = self._shares(times)
        if self.prediction == "epsilon":
            return (noisy - amount * said) / signal.clamp(min=1e-4)
        if self.prediction == "v_prediction":
            return signal * noisy - amount * said
        return noisy - amount * said if self.prediction == "flow" else said

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Times to train at, (count,): all alike; for flow the middle ones more often.

        The latter by a normal distribution's logistic, as in Esser et al., "Scaling rectified flow transformers for
        high-resolution image synthesis", ICML 2024, arXiv 2403.03206.
        """
        if self.prediction == "flow":
            share = torch.randn(count, generator=generator).sigmoid()
            return (share * self.times).long().clamp(max=self.times - 1)
        return torch.randint(0, self.times, (count,), generator=generator)

    def snr(self, times: Tensor) -> Tensor:
        """Signal over noise, as variances, (batch,)."""
        signal, amount = self._shares(times)
        return (signal / amount.clamp(min=1e-6)).square().flatten()

    def weights(self, times: Tensor, gamma: float) -> Tensor:
        """Min-SNR weights of the squared error in what the network says, (batch,); ones for gamma 0 and for flow.

        Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023, arXiv 2303.09556: in
        clean latents the error weighs min(SNR, gamma); an error in the noise is SNR, one in the velocity SNR + 1 times
        that.
        """
        if not gamma or self.prediction == "flow":
            return torch.ones_like(times, dtype=torch.float32)
        snr = self.snr(times)
        least = snr.clamp(max=gamma)
        by = {"epsilon": snr.clamp(min=1e-8), "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
        return least / by[self.prediction]


def read(scheduler: Any, name: str) -> Noising:
    """The noise that a pipeline's scheduler says its model was taught with.

    Args:
        scheduler: the pipeline's own.
        name: of the model, for the error.

    Raises:
        ModelUnavailableError: a kind of prediction that is not known.
    """
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return Noising(torch.linspace(1, 0, int(config.num_train_timesteps)), "flow")
    prediction = str(config.get("prediction_type", "epsilon"))
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise ModelUnavailableError(
            f"{name} predicts {prediction!r}, which is not trained here.", "Choose another --model."
        )
    return Noising(DDPMScheduler.from_config(config).alphas_cumprod.float(), prediction)
