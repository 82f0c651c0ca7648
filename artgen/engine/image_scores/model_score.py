"""Score images with the diffusion model: how much lower its denoising error is with the prompt than without it.

Li et al., "Your diffusion model is secretly a zero-shot classifier", ICCV 2023, arXiv 2303.16203. The noise is the same
for all images and for both prompts, so that it adds little to the differences between scores.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from artgen.engine.diffusion.antithetic_noise import antithetic_noise
from artgen.engine.diffusion.noise_schedule import add_noise
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE
from artgen.engine.image_scores.prompt_error import PromptPair
from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.vae import encode_images

NOISE_LEVELS = tuple((i + 0.5) / 12 for i in range(12))
"""Noise levels as strengths, 0 to 1."""
NOISE_SEED = 0

OnModelCall = Callable[[], object]
"""Called after each call of the UNet."""


@torch.inference_mode()
def model_score(
    pipe: Any, image: Image.Image, prompts: Sequence[dict[str, torch.Tensor]], on_model_call: OnModelCall
) -> float:
    """Return the mean squared error of v without the prompt minus the error with it, mean over the noise levels.

    Args:
        pipe: pipeline of Stable Diffusion 1, 2 or XL.
        image: RGB image; its sides are multiples of the model's size multiple.
        prompts: embeddings of each part of the prompt, with the empty negative prompt. The result is the mean over the
            parts.
        on_model_call: see `OnModelCall`.
    """
    return float(np.mean(error_reductions(pipe, image, prompts, NOISE_LEVELS, on_model_call)))


def error_reductions(
    pipe: Any,
    image: Image.Image,
    prompts: Sequence[dict[str, torch.Tensor]],
    noise_levels: Sequence[float],
    on_model_call: OnModelCall,
) -> list[float]:
    """Return the reduction of the squared error of v at each noise level; see `model_score`."""
    device = execution_device(pipe)
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1))[None]
    latents = encode_images(pipe.vae, pixels.to(device) / PIXEL_HALF_RANGE - 1)
    pairs = [PromptPair(pipe, embeddings, latents.shape) for embeddings in prompts]
    reductions = []
    for index, strength in enumerate(noise_levels):
        noise = torch.from_numpy(antithetic_noise(latents.shape, NOISE_SEED, index, 0)).to(device)
        total = 0.0
        for pair in pairs:
            timestep = pair.timestep_at(strength)
            state = add_noise(latents, noise, pair.level_at(timestep))
            errors = pair.v_errors(pair.predict(state, timestep), latents, noise, timestep).mean((1, 2))
            total += float(errors[1] - errors[0])
            on_model_call()
        reductions.append(total / len(pairs))
    return reductions
