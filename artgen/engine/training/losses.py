"""What a training makes small: each a module that gives the loss of a batch, so that accelerate can wrap it whole."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from artgen.engine.diffusion.noise_schedule import NoiseSchedule
from artgen.engine.training.perceptual import PerceptualDistance

MIN_PERCEPTUAL_SNR = 0.1
"""Latents meant at more noise than this are too vague for the perceptual term, which leaves them out."""

KL_WEIGHT = 1e-6
"""Of the pull of an autoencoder's latents to a normal distribution, as Stable Diffusion's was trained with."""

Losses = dict[str, Tensor]
"""Of a loss, by name; `loss` is what is made small."""


class Objective(nn.Module):
    """A module whose forward gives `loss`, and the parts it is made of where there are several."""

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


class DenoiserLoss(Objective):
    """The diffusion loss, and with a weight the perceptual distance of the latents that the network meant.

    Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, with the model's own kind of prediction.

    Args:
        pipe: a Stable Diffusion 1, 2 or XL pipeline; its denoiser and text encoders become parts of this module.
        noise_schedule: of the model.
        snr_gamma: of min-SNR weighting; 0 for none.
        distance: between latents; None for none.
        perceptual_weight: of that.
    """

    def __init__(
        self,
        pipe: Any,
        noise_schedule: NoiseSchedule,
        snr_gamma: float,
        distance: PerceptualDistance | None,
        perceptual_weight: float,
    ) -> None:
        super().__init__()
        self._pipe = pipe
        self.unet = pipe.unet
        self.text_encoder, self.text_encoder_2 = pipe.text_encoder, getattr(pipe, "text_encoder_2", None)
        self.noise_schedule, self.snr_gamma, self.perceptual_weight = noise_schedule, snr_gamma, perceptual_weight
        self.distance = distance
        encoders = [encoder for encoder in (self.text_encoder, self.text_encoder_2) if encoder is not None]
        self.trains_text_encoder = any(value.requires_grad for each in encoders for value in each.parameters())
        self._caption_embeddings: dict[str, tuple[Tensor, Tensor | None]] = {}

    def forward(
        self, clean: Tensor, noise: Tensor, times: Tensor, captions: Sequence[str], time_ids: Tensor | None
    ) -> Losses:
        """The loss of a batch.

        Args:
            clean, noise: latents, (batch, channels, height, width).
            times: (batch,), whole numbers.
            captions: one for each.
            time_ids: for SDXL, (batch, 6): original height and width, top and left of the crop, height and width.
        """
        noisy = self.noise_schedule.add_noise(clean, noise, times)
        words, pooled = self._encode_captions(captions)
        dtype = self.unet.dtype
        added = None if pooled is None else {"text_embeds": pooled.to(dtype), "time_ids": time_ids}
        said = self.unet(noisy.to(dtype), times, words.to(dtype), added_cond_kwargs=added).sample.float()
        error = (said - self.noise_schedule.target(clean, noise, times)).square().mean((1, 2, 3))
        diffusion = (self.noise_schedule.min_snr_weights(times, self.snr_gamma) * error).mean()
        parts = {"loss": diffusion}
        if self.distance is not None:
            clear = (self.noise_schedule.snr(times) >= MIN_PERCEPTUAL_SNR).nonzero().flatten()
            meant = self.noise_schedule.predict_x0(noisy, said, times)
            # A batch without any still has the term's gradient, 0, which several processes wait for.
            chosen = self.distance(meant[clear], clean[clear]).sum() if len(clear) else 0 * meant.sum()
            distance = chosen / len(times)
            parts = {
                "loss": diffusion + self.perceptual_weight * distance,
                "diffusion": diffusion,
                "perceptual": distance,
            }
        return parts

    def _encode_captions(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Embeddings of captions, (batch, tokens, width), and SDXL's pooled ones; encoded once while they stay."""
        if self.trains_text_encoder:
            return self._run_text_encoders(list(captions))
        with torch.no_grad():
            for caption in dict.fromkeys(captions):
                if caption not in self._caption_embeddings:
                    self._caption_embeddings[caption] = self._run_text_encoders([caption])
        rows = [self._caption_embeddings[caption] for caption in captions]
        pooled = [second for _, second in rows if second is not None]
        return torch.cat([first for first, _ in rows]), torch.cat(pooled) if pooled else None

    def _run_text_encoders(self, captions: list[str]) -> tuple[Tensor, Tensor | None]:
        device = next(self.unet.parameters()).device
        found = self._pipe.encode_prompt(
            captions, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return found[0], found[2] if len(found) > 2 else None


class AutoencoderLoss(Objective):
    """The squared error of reconstructions, and with a weight their perceptual distance.

    With an encoder that learns, also the pull of its latents to a normal distribution (Kingma and Welling,
    "Auto-encoding variational Bayes", ICLR 2014).

    Args:
        vae: diffusers' `AutoencoderKL`; what of it learns has `requires_grad`.
        distance: between pictures; None for none.
        perceptual_weight: of that.
    """

    def __init__(self, vae: Any, distance: PerceptualDistance | None, perceptual_weight: float) -> None:
        super().__init__()
        self.vae, self.distance, self.perceptual_weight = vae, distance, perceptual_weight
        self.trains_encoder = any(value.requires_grad for value in vae.encoder.parameters())

    def forward(self, pictures: Tensor, noise: Tensor) -> Losses:
        """The loss of a batch.

        Args:
            pictures: (batch, 3, height, width) from -1 to 1.
            noise: of the latents' shape, normally distributed.
        """
        with torch.set_grad_enabled(self.trains_encoder):
            posterior = self.vae.encode(pictures).latent_dist
        rebuilt = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = (rebuilt - pictures).square().mean()
        loss = error + KL_WEIGHT * posterior.kl().mean() if self.trains_encoder else error
        if self.distance is None:
            return {"loss": loss, "mse": error} if self.trains_encoder else {"loss": loss}
        distance = self.distance(rebuilt, pictures).mean()
        return {"loss": loss + self.perceptual_weight * distance, "mse": error, "perceptual": distance}
