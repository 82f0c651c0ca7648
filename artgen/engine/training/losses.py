"""Define the training losses as modules, so that accelerate can wrap a complete forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from artgen.engine.diffusion.noise_schedule import add_noise, predict_x0, snr, training_target
from artgen.engine.diffusion.training_schedule import NoiseSchedule
from artgen.engine.training.perceptual import PerceptualDistance

MIN_PERCEPTUAL_SNR = 0.1
"""Smallest signal-to-noise ratio for the perceptual term. At a lower SNR, the predicted latents are too blurred."""

KL_WEIGHT = 1e-6
"""Weight of the KL divergence between an autoencoder's latents and a normal distribution, as in Stable Diffusion."""

Losses = dict[str, Tensor]
"""Terms by name, scalar tensors; `loss` is the value to minimize."""


class Objective(nn.Module):
    """Represent a loss. The forward pass returns `loss` and, if there are several terms, each term."""

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that require gradients, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


class DenoiserLoss(Objective):
    """Compute the diffusion loss and, optionally, a perceptual distance between predicted and clean latents.

    Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, with the prediction type of the model.

    Args:
        pipe: Stable Diffusion 1, 2 or XL pipeline; its denoiser and text encoders become submodules.
        noise_schedule: noise schedule of the model.
        snr_gamma: gamma of min-SNR weighting; 0 disables the weighting.
        distance: distance between latents; None disables the perceptual term.
        perceptual_weight: weight of the perceptual term.
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
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, captions: Sequence[str], time_ids: Tensor | None
    ) -> Losses:
        """Return the loss of a batch.

        Args:
            latents: clean latents, shape (B, C, H, W), scaled for the denoiser.
            noise: normal noise of the same shape.
            timesteps: integers, shape (B,).
            captions: one caption per image; an empty string is the unconditional prompt.
            time_ids: for SDXL, shape (B, 6): original height and width, top and left of the crop, target height and
                width, in pixels. None for other models.
        """
        level, prediction_type = self.noise_schedule.level_at(timesteps), self.noise_schedule.prediction_type
        noisy_latents = add_noise(latents, noise, level)
        prompt_embeds, pooled = self._encode_captions(captions)
        dtype = self.unet.dtype
        added = None if pooled is None else {"text_embeds": pooled.to(dtype), "time_ids": time_ids}
        model_pred = self.unet(
            noisy_latents.to(dtype), timesteps, prompt_embeds.to(dtype), added_cond_kwargs=added
        ).sample.float()
        error = (model_pred - training_target(latents, noise, level, prediction_type)).square().mean((1, 2, 3))
        diffusion = (self.noise_schedule.min_snr_weights(timesteps, self.snr_gamma) * error).mean()
        if self.distance is None:
            return {"loss": diffusion}
        low_noise = (snr(level).flatten() >= MIN_PERCEPTUAL_SNR).nonzero().flatten()
        x0_pred = predict_x0(model_pred, noisy_latents, level, prediction_type)
        # Without a low-noise image the term still needs a gradient, 0: distributed processes wait for the gradient.
        total = self.distance(x0_pred[low_noise], latents[low_noise]).sum() if len(low_noise) else 0 * x0_pred.sum()
        perceptual = total / len(timesteps)
        return {
            "loss": diffusion + self.perceptual_weight * perceptual,
            "diffusion": diffusion,
            "perceptual": perceptual,
        }

    def _encode_captions(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Return prompt embeddings, shape (B, tokens, width), and SDXL's pooled embeddings.

        Embeddings are cached unless a text encoder is trained.
        """
        if self.trains_text_encoder:
            return self._run_text_encoders(list(captions))
        with torch.no_grad():
            for caption in dict.fromkeys(captions):
                if caption not in self._caption_embeddings:
                    self._caption_embeddings[caption] = self._run_text_encoders([caption])
        embeddings = [self._caption_embeddings[caption] for caption in captions]
        pooled = [second for _, second in embeddings if second is not None]
        return torch.cat([first for first, _ in embeddings]), torch.cat(pooled) if pooled else None

    def _run_text_encoders(self, captions: list[str]) -> tuple[Tensor, Tensor | None]:
        device = next(self.unet.parameters()).device
        encoded = self._pipe.encode_prompt(
            captions, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return encoded[0], encoded[2] if len(encoded) > 2 else None


class PixelDenoiserLoss(Objective):
    """Compute the diffusion loss of an unconditional model in pixel space.

    Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, equation 14: the squared error of the predicted
    noise.

    Args:
        unet: diffusers' `UNet2DModel`.
        noise_schedule: noise schedule of the model.
        snr_gamma: gamma of min-SNR weighting; 0 disables the weighting.
    """

    def __init__(self, unet: Any, noise_schedule: NoiseSchedule, snr_gamma: float) -> None:
        super().__init__()
        self.unet, self.noise_schedule, self.snr_gamma = unet, noise_schedule, snr_gamma

    def forward(self, images: Tensor, noise: Tensor, timesteps: Tensor) -> Losses:
        """Return the loss of a batch.

        Args:
            images: shape (B, 3, H, W), from -1 to 1.
            noise: normal noise of the same shape.
            timesteps: integers, shape (B,).
        """
        level = self.noise_schedule.level_at(timesteps)
        predicted = self.unet(add_noise(images, noise, level), timesteps).sample.float()
        target = training_target(images, noise, level, self.noise_schedule.prediction_type)
        error = (predicted - target).square().mean((1, 2, 3))
        return {"loss": (self.noise_schedule.min_snr_weights(timesteps, self.snr_gamma) * error).mean()}


class AutoencoderLoss(Objective):
    """Compute the squared error of reconstructions and, optionally, their perceptual distance.

    If the encoder is trained, the loss contains the KL divergence of the latents from a normal distribution (Kingma and
    Welling, "Auto-encoding variational Bayes", ICLR 2014).

    Args:
        vae: diffusers' `AutoencoderKL`; the trained parameters have `requires_grad`.
        distance: distance between images; None disables the perceptual term.
        perceptual_weight: weight of the perceptual term.
    """

    def __init__(self, vae: Any, distance: PerceptualDistance | None, perceptual_weight: float) -> None:
        super().__init__()
        self.vae, self.distance, self.perceptual_weight = vae, distance, perceptual_weight
        self.trains_encoder = any(value.requires_grad for value in vae.encoder.parameters())

    def forward(self, images: Tensor, noise: Tensor) -> Losses:
        """Return the loss of a batch.

        Args:
            images: shape (B, 3, H, W), from -1 to 1.
            noise: normal noise in the shape of the latents.
        """
        with torch.set_grad_enabled(self.trains_encoder):
            posterior = self.vae.encode(images).latent_dist
        reconstructed = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = (reconstructed - images).square().mean()
        loss = error + KL_WEIGHT * posterior.kl().mean() if self.trains_encoder else error
        if self.distance is None:
            return {"loss": loss, "mse": error} if self.trains_encoder else {"loss": loss}
        perceptual = self.distance(reconstructed, images).mean()
        return {"loss": loss + self.perceptual_weight * perceptual, "mse": error, "perceptual": perceptual}
