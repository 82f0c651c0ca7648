"""Reconstruct noisy images with a Stable Diffusion model and a prompt that describes normal images.

The image is encoded, noised, and denoised in a few steps with the prompt. In addition, a likelihood ratio is computed:
a model predicts the noise of an image better with a matching prompt, so the error with the prompt minus the error
without it is high where the prompt does not describe the image (Li et al., "Your diffusion model is secretly a
zero-shot classifier", ICCV 2023, arXiv 2303.16203).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from artgen.engine.acceleration import apply
from artgen.engine.anomaly.pixel import FloatArray, LevelReconstruction, OnModelCall, antithetic_noise
from artgen.engine.diffusion.noise_schedule import (
    NoiseLevel,
    add_noise,
    predict_noise,
    predict_x0,
    read_alphas_cumprod,
    read_prediction_type,
    training_target,
)
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE
from artgen.engine.loading import lora
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling import prompt_embeddings
from artgen.engine.sampling.vae import decode_latents, encode_images
from artgen.errors import NonFiniteError
from artgen.events import Listener
from artgen.registry import ResolvedModel

NUM_DDIM_STEPS = 4
"""DDIM steps from each noise level to the clean latents."""
GUIDANCE_SCALE = 3.0
"""Classifier-free guidance scale of the reconstruction; the default of `tiny`, lower than usual for generation."""


@dataclass(frozen=True)
class LatentReconstructor:
    """Reconstruct images with a Stable Diffusion model.

    Attributes:
        pipe: pipeline of diffusers.
        prompt: description of normal images; empty for reconstruction without a prompt.
    """

    pipe: Any
    prompt: str

    @torch.inference_mode()
    def reconstruct(
        self,
        image: FloatArray,
        noise_levels: tuple[float, ...],
        noise_samples: int,
        seed: int,
        on_model_call: OnModelCall,
    ) -> Iterator[LevelReconstruction]:
        """Yield one reconstruction for each noise level.

        Args:
            image: shape (3, H, W), 0 to 255; the sides are multiples of the model's size multiple.
            noise_levels: strengths, 0 to 1.
            noise_samples: noise samples whose reconstructions are averaged.
            seed: seed of the noise.
            on_model_call: called after each call of the network.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        vae = self.pipe.vae
        pixels = torch.from_numpy(image)[None].to(vae.device, vae.dtype) / PIXEL_HALF_RANGE - 1
        latents = encode_images(vae, pixels).float()
        ddim_run = _DdimRun(self.pipe, self.prompt, latents.shape)
        divisor = np.float32(noise_samples)
        for level_index, strength in enumerate(noise_levels):
            total, total_ratio = np.zeros_like(image), np.zeros(latents.shape[2:], np.float32)
            for sample_index in range(noise_samples):
                noise = torch.from_numpy(antithetic_noise(latents.shape, seed, level_index, sample_index))
                x0, ratio = ddim_run.run(latents, noise.to(latents.device), strength, on_model_call)
                total += self._decode_to_array(x0)
                total_ratio += ratio
            yield LevelReconstruction(image, total / divisor, total_ratio / divisor if self.prompt else None)

    def _decode_to_array(self, latents: torch.Tensor) -> FloatArray:
        image = next(decode_latents(self.pipe, latents))
        if image is None:
            raise NonFiniteError(
                "Cannot reconstruct the image: the model produced NaN or infinity.",
                "Use --dtype fp32, or check the model's files: artgen models verify",
            )
        return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)


class _DdimRun:
    """Denoise noisy latents with DDIM and compare the predictions with and without the prompt."""

    def __init__(self, pipe: Any, prompt: str, latent_shape: torch.Size) -> None:
        self._unet = pipe.unet
        config = pipe.scheduler.config
        self._alphas_cumprod = read_alphas_cumprod(config)
        self._prediction_type = read_prediction_type(config, type(pipe.scheduler).__name__)
        embeddings = prompt_embeddings.prompt_embeddings(pipe, [prompt], [""], True)
        self._prompt_embeds = torch.cat([embeddings["prompt_embeds"], embeddings["negative_prompt_embeds"]])
        self._unet_kwargs: dict[str, Any] = {}
        if "pooled_prompt_embeds" in embeddings:  # Stable Diffusion XL is conditioned on the image size, too
            height, width = (side * pipe.vae_scale_factor for side in latent_shape[2:])
            pooled = torch.cat([embeddings["pooled_prompt_embeds"], embeddings["negative_pooled_prompt_embeds"]])
            time_ids = torch.tensor([[height, width, 0, 0, height, width]] * 2).to(pooled)
            self._unet_kwargs = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": time_ids}}

    def run(
        self, latents: torch.Tensor, noise: torch.Tensor, strength: float, on_model_call: OnModelCall
    ) -> tuple[torch.Tensor, FloatArray]:
        """Return the reconstructed latents and the likelihood ratio, shape (h, w).

        The ratio is the squared error of the first prediction with the prompt minus the error without it.
        """
        num_timesteps = len(self._alphas_cumprod)
        first = min(num_timesteps - 1, max(1, round(strength * num_timesteps) - 1))
        timesteps = np.unique(np.linspace(first, 0, NUM_DDIM_STEPS + 1).round().astype(int))[::-1]
        level = self._level_at(first)
        state = add_noise(latents, noise, level)
        ratio = np.zeros(latents.shape[2:], np.float32)
        for step, timestep in enumerate(timesteps[:-1]):
            x0, epsilon = self._predict_x0_and_noise(state, int(timestep))
            on_model_call()
            if step == 0:
                # The error of v is finite at all levels, for every prediction type.
                v_error = training_target(x0 - latents, epsilon - noise, level, "v_prediction")
                errors = v_error.square().mean(1)
                ratio = (errors[0] - errors[1]).cpu().numpy()
            x0, epsilon = (each[1:] + GUIDANCE_SCALE * (each[:1] - each[1:]) for each in (x0, epsilon))
            is_last = step == len(timesteps) - 2
            state = x0 if is_last else add_noise(x0, epsilon, self._level_at(int(timesteps[step + 1])))
        return state, ratio

    def _level_at(self, timestep: int) -> NoiseLevel[float]:
        return NoiseLevel.from_alpha_bar(float(self._alphas_cumprod[timestep]))

    def _predict_x0_and_noise(self, state: torch.Tensor, timestep: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x0 and epsilon, shape (2, C, h, w): with the prompt and without it."""
        network_input = state.repeat(2, 1, 1, 1).to(self._unet.dtype)
        model_output = self._unet(
            network_input, timestep, encoder_hidden_states=self._prompt_embeds, **self._unet_kwargs
        ).sample.float()
        prediction = (model_output, state, self._level_at(timestep), self._prediction_type)
        return predict_x0(*prediction), predict_noise(*prediction)


def load_latent_reconstructor(
    model: ResolvedModel, prompt: str, device_config: DeviceConfig, listener: Listener
) -> LatentReconstructor:
    """Return the reconstructor of a cached or newly loaded model.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = apply.load_unoptimized(model, device_config, listener)
    lora.set_loras(pipe, (), device_config, None)
    return LatentReconstructor(pipe, prompt)


def num_model_calls(noise_levels: tuple[float, ...], noise_samples: int) -> int:
    """Return the maximum number of network calls for an image."""
    return len(noise_levels) * noise_samples * NUM_DDIM_STEPS
