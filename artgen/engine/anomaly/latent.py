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
from artgen.engine.anomaly.pixel import FloatArray, LevelReconstruction, OnModelCall
from artgen.engine.diffusion.antithetic_noise import antithetic_noise
from artgen.engine.diffusion.noise_schedule import add_noise
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE
from artgen.engine.image_scores.prompt_error import PromptPair
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
        embeddings = prompt_embeddings.prompt_embeddings(pipe, [prompt], [""], True)
        self._pair = PromptPair(pipe, embeddings, latent_shape)

    def run(
        self, latents: torch.Tensor, noise: torch.Tensor, strength: float, on_model_call: OnModelCall
    ) -> tuple[torch.Tensor, FloatArray]:
        """Return the reconstructed latents and the likelihood ratio, shape (h, w).

        The ratio is the squared error of the first prediction with the prompt minus the error without it.
        """
        pair = self._pair
        first = pair.timestep_at(strength)
        timesteps = np.unique(np.linspace(first, 0, NUM_DDIM_STEPS + 1).round().astype(int))[::-1]
        state = add_noise(latents, noise, pair.level_at(first))
        ratio = np.zeros(latents.shape[2:], np.float32)
        for step, timestep in enumerate(timesteps[:-1]):
            prediction = pair.predict(state, int(timestep))
            on_model_call()
            if step == 0:
                errors = pair.v_errors(prediction, latents, noise, first)
                ratio = (errors[0] - errors[1]).cpu().numpy()
            x0, epsilon = (each[1:] + GUIDANCE_SCALE * (each[:1] - each[1:]) for each in prediction)
            is_last = step == len(timesteps) - 2
            state = x0 if is_last else add_noise(x0, epsilon, pair.level_at(int(timesteps[step + 1])))
        return state, ratio


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
