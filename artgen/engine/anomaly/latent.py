"""Reconstructions by a Stable Diffusion model, whose prompt says what is normal.

The picture is encoded, noised and denoised again in a few steps under the prompt. Beside the picture that comes of it
there is a likelihood ratio: a model that knows what is in a picture predicts its noise better when it is told, so how
much worse the prediction is with the prompt than without tells what the prompt does not say (Li et al., Your diffusion
model is secretly a zero-shot classifier, ICCV 2023, arXiv 2303.16203).
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
"""Of DDIM, from each level down."""
GUIDANCE_SCALE = 3.0
"""How strictly the prompt is followed on the way down; the strength of `tiny`, less than that of drawing."""


@dataclass(frozen=True)
class LatentReconstructor:
    """A Stable Diffusion model under a prompt.

    Attributes:
        pipe: its pipeline.
        prompt: what is normal; empty for the model without a prompt.
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
        """One reconstruction for each strength, 0 to 1, of (3, height, width), 0 to 255; the model takes its sides.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        vae = self.pipe.vae
        pixels = torch.from_numpy(image)[None].to(vae.device, vae.dtype) / PIXEL_HALF_RANGE - 1
        latents = encode_images(vae, pixels).float()
        descent = _DdimRun(self.pipe, self.prompt, latents.shape)
        share = np.float32(noise_samples)
        for number, level in enumerate(noise_levels):
            total, ratio = np.zeros_like(image), np.zeros(latents.shape[2:], np.float32)
            for draw in range(noise_samples):
                added = torch.from_numpy(antithetic_noise(latents.shape, seed, number, draw)).to(latents.device)
                clean, found = descent.run(latents, added, level, on_model_call)
                total += self._decode_to_array(clean)
                ratio += found
            yield LevelReconstruction(image, total / share, ratio / share if self.prompt else None)

    def _decode_to_array(self, latents: torch.Tensor) -> FloatArray:
        picture = next(decode_latents(self.pipe, latents))
        if picture is None:
            raise NonFiniteError(
                "The model produced NaN or infinity.",
                "Try --dtype fp32; the model itself may be damaged (`artgen models verify`).",
            )
        return np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)


class _DdimRun:
    """From noised latents down to clean ones, under a prompt and without."""

    def __init__(self, pipe: Any, prompt: str, latent_shape: torch.Size) -> None:
        self._unet = pipe.unet
        config = pipe.scheduler.config
        self._alphas_cumprod = read_alphas_cumprod(config)
        self._prediction_type = read_prediction_type(config, type(pipe.scheduler).__name__)
        found = prompt_embeddings.prompt_embeddings(pipe, [prompt], [""], True)
        self._prompt_embeds = torch.cat([found["prompt_embeds"], found["negative_prompt_embeds"]])
        self._unet_kwargs: dict[str, Any] = {}
        if "pooled_prompt_embeds" in found:  # Stable Diffusion XL is told the size too
            high, wide = (side * pipe.vae_scale_factor for side in latent_shape[2:])
            pooled = torch.cat([found["pooled_prompt_embeds"], found["negative_pooled_prompt_embeds"]])
            sizes = torch.tensor([[high, wide, 0, 0, high, wide]] * 2).to(pooled)
            self._unet_kwargs = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}

    def run(
        self, latents: torch.Tensor, noise: torch.Tensor, strength: float, on_model_call: OnModelCall
    ) -> tuple[torch.Tensor, FloatArray]:
        """Clean latents, and the ratio at each of their places: errors with the prompt less those without."""
        first = min(len(self._alphas_cumprod) - 1, max(1, round(strength * len(self._alphas_cumprod)) - 1))
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
        """Clean latents and noise, each (2, channels, height, width): under the prompt, and without."""
        network_input = state.repeat(2, 1, 1, 1).to(self._unet.dtype)
        model_output = self._unet(
            network_input, timestep, encoder_hidden_states=self._prompt_embeds, **self._unet_kwargs
        ).sample.float()
        prediction = (model_output, state, self._level_at(timestep), self._prediction_type)
        return predict_x0(*prediction), predict_noise(*prediction)


def load_latent_reconstructor(
    model: ResolvedModel, prompt: str, device_config: DeviceConfig, listener: Listener
) -> LatentReconstructor:
    """Reads a model, or takes the one read last.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = apply.load_unoptimized(model, device_config, listener)
    lora.set_loras(pipe, (), device_config, None)
    return LatentReconstructor(pipe, prompt)


def num_model_calls(noise_levels: tuple[float, ...], noise_samples: int) -> int:
    """How often the network is called for a picture, at most."""
    return len(noise_levels) * noise_samples * NUM_DDIM_STEPS
