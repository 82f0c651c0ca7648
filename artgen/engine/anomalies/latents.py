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

from artgen.engine import accelerating, adapters, embeddings
from artgen.engine.anomalies.reconstructions import Done, Floats, Reconstruction, noise
from artgen.engine.autoencoding import decoded, encoded
from artgen.engine.denoising.levels import HALF_RANGE
from artgen.engine.device import Placement
from artgen.errors import NonFiniteError
from artgen.events import Listener
from artgen.registry import ResolvedModel

STEPS = 4
"""Of DDIM, from each level down."""
GUIDANCE = 3.0
"""How strictly the prompt is followed on the way down; the strength of `tiny`, less than that of drawing."""


@dataclass(frozen=True)
class Words:
    """A Stable Diffusion model under a prompt.

    Attributes:
        pipe: its pipeline.
        prompt: what is normal; empty for the model without a prompt.
    """

    pipe: Any
    prompt: str

    @torch.inference_mode()
    def rebuilt(
        self, picture: Floats, levels: tuple[float, ...], draws: int, seed: int, done: Done
    ) -> Iterator[Reconstruction]:
        """One reconstruction for each strength, 0 to 1, of (3, height, width), 0 to 255; the model takes its sides.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        vae = self.pipe.vae
        pixels = torch.from_numpy(picture)[None].to(vae.device, vae.dtype) / HALF_RANGE - 1
        latents = encoded(vae, pixels).float()
        descent = _Descent(self.pipe, self.prompt, latents.shape)
        share = np.float32(draws)
        for number, level in enumerate(levels):
            total, ratio = np.zeros_like(picture), np.zeros(latents.shape[2:], np.float32)
            for draw in range(draws):
                added = torch.from_numpy(noise(latents.shape, seed, number, draw)).to(latents.device)
                clean, found = descent.run(latents, added, level, done)
                total += self._decoded(clean)
                ratio += found
            yield Reconstruction(picture, total / share, ratio / share if self.prompt else None)

    def _decoded(self, latents: torch.Tensor) -> Floats:
        picture = next(decoded(self.pipe, latents))
        if picture is None:
            raise NonFiniteError(
                "The model produced NaN or infinity.",
                "Try --dtype fp32; the model itself may be damaged (`artgen models verify`).",
            )
        return np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)


class _Descent:
    """From noised latents down to clean ones, under a prompt and without."""

    def __init__(self, pipe: Any, prompt: str, shape: torch.Size) -> None:
        self._unet = pipe.unet
        scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        self._kept = scheduler.alphas_cumprod.double()
        self._prediction = str(scheduler.config.prediction_type)
        found = embeddings.embedded(pipe, [prompt], [""], True)
        self._words = torch.cat([found["prompt_embeds"], found["negative_prompt_embeds"]])
        self._more: dict[str, Any] = {}
        if "pooled_prompt_embeds" in found:  # Stable Diffusion XL is told the size too
            high, wide = (side * pipe.vae_scale_factor for side in shape[2:])
            pooled = torch.cat([found["pooled_prompt_embeds"], found["negative_pooled_prompt_embeds"]])
            sizes = torch.tensor([[high, wide, 0, 0, high, wide]] * 2).to(pooled)
            self._more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}

    def run(self, latents: torch.Tensor, noise: torch.Tensor, level: float, done: Done) -> tuple[torch.Tensor, Floats]:
        """Clean latents, and the ratio at each of their places: errors with the prompt less those without."""
        first = min(len(self._kept) - 1, max(1, round(level * len(self._kept)) - 1))
        times = np.unique(np.linspace(first, 0, STEPS + 1).round().astype(int))[::-1]
        kept = float(self._kept[first])
        state = math.sqrt(kept) * latents + math.sqrt(1 - kept) * noise
        ratio = np.zeros(latents.shape[2:], np.float32)
        for number, time in enumerate(times[:-1]):
            clean, epsilon = self._predicted(state, int(time))
            done()
            if number == 0:
                # Of v (Salimans and Ho, arXiv 2202.00512), which is sound at all levels, whatever is predicted.
                wrong = math.sqrt(kept) * (epsilon - noise) - math.sqrt(1 - kept) * (clean - latents)
                errors = wrong.square().mean(1)
                ratio = (errors[0] - errors[1]).cpu().numpy()
            clean, epsilon = (each[1:] + GUIDANCE * (each[:1] - each[1:]) for each in (clean, epsilon))
            after = float(self._kept[times[number + 1]])
            last = number == len(times) - 2
            state = clean if last else math.sqrt(after) * clean + math.sqrt(1 - after) * epsilon
        return state, ratio

    def _predicted(self, state: torch.Tensor, time: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents and noise, each (2, channels, height, width): under the prompt, and without."""
        kept = float(self._kept[time])
        both = state.repeat(2, 1, 1, 1).to(self._unet.dtype)
        said = self._unet(both, time, encoder_hidden_states=self._words, **self._more).sample.float()
        signal, noise = math.sqrt(kept), math.sqrt(1 - kept)
        if self._prediction == "v_prediction":
            return signal * state - noise * said, noise * state + signal * said
        if self._prediction == "sample":
            return said, (state - signal * said) / max(noise, 1e-6)
        return (state - noise * said) / max(signal, 1e-6), said


def load(model: ResolvedModel, prompt: str, placement: Placement, listener: Listener) -> Words:
    """Reads a model, or takes the one read last.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = accelerating.load_plain(model, placement, listener)
    adapters.attach(pipe, (), placement, None)
    return Words(pipe, prompt)


def calls(levels: tuple[float, ...], draws: int) -> int:
    """How often the network is called for a picture, at most."""
    return len(levels) * draws * STEPS
