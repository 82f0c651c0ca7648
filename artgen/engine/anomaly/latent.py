"""Reconstructions by a Stable Diffusion model, whose prompt says what is normal.

The picture is encoded, noised and denoised again in a few steps under the prompt. Beside the picture that comes of it
there is a likelihood ratio: a model that knows what is in a picture predicts its noise better when it is told, so how
much worse the prediction is with the prompt than without tells what the prompt does not say (Li et al., Your diffusion
model is secretly a zero-shot classifier, ICCV 2023, arXiv 2303.16203).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler

from artgen.engine.acceleration import apply
from artgen.engine.anomaly.pixel import FloatArray, LevelReconstruction, OnModelCall, antithetic_noise
from artgen.engine.diffusion.noise_schedule import PIXEL_HALF_RANGE
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
        scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        self._alphas_cumprod = scheduler.alphas_cumprod.double()
        self._prediction_type = str(scheduler.config.prediction_type)
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
        times = np.unique(np.linspace(first, 0, NUM_DDIM_STEPS + 1).round().astype(int))[::-1]
        kept = float(self._alphas_cumprod[first])
        state = math.sqrt(kept) * latents + math.sqrt(1 - kept) * noise
        ratio = np.zeros(latents.shape[2:], np.float32)
        for number, time in enumerate(times[:-1]):
            clean, epsilon = self._predict_x0_and_noise(state, int(time))
            on_model_call()
            if number == 0:
                # Of v (Salimans and Ho, arXiv 2202.00512), which is sound at all levels, whatever is predicted.
                wrong = math.sqrt(kept) * (epsilon - noise) - math.sqrt(1 - kept) * (clean - latents)
                errors = wrong.square().mean(1)
                ratio = (errors[0] - errors[1]).cpu().numpy()
            clean, epsilon = (each[1:] + GUIDANCE_SCALE * (each[:1] - each[1:]) for each in (clean, epsilon))
            after = float(self._alphas_cumprod[times[number + 1]])
            last = number == len(times) - 2
            state = clean if last else math.sqrt(after) * clean + math.sqrt(1 - after) * epsilon
        return state, ratio

    def _predict_x0_and_noise(self, state: torch.Tensor, timestep: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents and noise, each (2, channels, height, width): under the prompt, and without."""
        kept = float(self._alphas_cumprod[timestep])
        both = state.repeat(2, 1, 1, 1).to(self._unet.dtype)
        said = self._unet(both, timestep, encoder_hidden_states=self._prompt_embeds, **self._unet_kwargs).sample.float()
        signal, noise = math.sqrt(kept), math.sqrt(1 - kept)
        if self._prediction_type == "v_prediction":
            return signal * state - noise * said, noise * state + signal * said
        if self._prediction_type == "sample":
            return said, (state - signal * said) / max(noise, 1e-6)
        return (state - noise * said) / max(signal, 1e-6), said


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
