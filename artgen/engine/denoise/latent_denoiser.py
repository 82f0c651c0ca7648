"""Noise removal in the latents of Stable Diffusion: creative clean-up, not fidelity.

The picture is encoded without adding noise and enters at the timestep where the model's noise is as strong as the
picture's is in the latents; a few steps under an empty prompt follow. What the autoencoder cannot hold is lost (it
limits PSNR to about 24 dB for Stable Diffusion's own), and details are drawn anew. img2img's `strength` has no part in
it: at the weak noise of photographs `int(steps * strength)` would run nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler

from artgen.engine.acceleration import apply
from artgen.engine.denoise.tiling import Tiling
from artgen.engine.diffusion.noise_schedule import unscaled_sigmas
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE
from artgen.engine.loading import lora, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling import prompt_embeddings
from artgen.engine.sampling.frames import StepRecorder
from artgen.engine.sampling.vae import encode_images
from artgen.events import Listener
from artgen.registry import ResolvedModel
from artgen.registry.lora import LoraRequest
from artgen.spec.settings import FramesSettings

TILE_OVERLAP_FRACTION = 0.25
"""Of neighbouring tiles; each is as large as the pictures that the model was trained on."""


@dataclass(frozen=True)
class LatentDenoiser:
    """A Stable Diffusion pipeline, and how it takes a picture."""

    pipe: Any
    tiling: Tiling

    @torch.inference_mode()
    def denoise_tile(
        self, noisy: np.ndarray, sigma: float, steps: int, frame_settings: FramesSettings | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """One tile, (3, height, width), 0 to 255, float32, and the frames before it."""
        vae = self.pipe.vae
        pixels = torch.from_numpy(np.ascontiguousarray(noisy))[None] / PIXEL_HALF_RANGE - 1
        # How strong noise of this strength is in the latents is measured: encoders weaken it, each in its way.
        extra = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * (sigma / PIXEL_HALF_RANGE)
        latents, shaken = (encode_images(vae, each.to(vae.device, vae.dtype)) for each in (pixels, pixels + extra))
        level = float((shaken - latents).float().std())
        scheduler = EulerDiscreteScheduler.from_config(self.pipe.scheduler.config, use_karras_sigmas=False)
        trained = unscaled_sigmas(scheduler.alphas_cumprod)
        first = min(max(level, float(trained[0])), float(trained[-1]))
        descent = np.geomspace(first, float(trained[0]), steps + 1)[:-1].tolist()
        sigmas = [*(descent if first > float(trained[0]) else [first]), 0.0]
        scheduler.set_timesteps(sigmas=sigmas)
        self.pipe.scheduler = scheduler
        recorder = StepRecorder(self.pipe, frame_settings) if frame_settings else None
        words = (
            prompt_embeddings.prompt_embeddings(self.pipe, [""], [""], False)
            if prompt_embeddings.supports_embeddings(self.pipe)
            else {"prompt": ""}
        )
        with pipeline_cache.silence_libraries():
            drawn = self.pipe(
                **words,
                # The pipeline multiplies by this; the encoded picture already is the noisy state.
                latents=latents / scheduler.init_noise_sigma,
                sigmas=sigmas,
                guidance_scale=0.0,
                height=noisy.shape[1],
                width=noisy.shape[2],
                output_type="np",
            )
        found: np.ndarray = np.asarray(drawn.images[0], np.float32).transpose(2, 0, 1) * 255
        shown = (
            [np.asarray(each, np.float32).transpose(2, 0, 1) for each in recorder.intermediate_images(0)]
            if recorder
            else []
        )
        return found, shown


def load_latent_denoiser(
    model: ResolvedModel, loras: Sequence[LoraRequest], device_config: DeviceConfig, listener: Listener
) -> LatentDenoiser:
    """Reads a model, or takes the one read last, and lets LoRAs change it.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or a LoRA does not fit.
    """
    base = apply.load_unoptimized(model, device_config, listener)
    lora.set_loras(base, loras, device_config, None)
    pipe = pipeline_cache.pipeline_for_task(base, "Text2Image", "denoise")
    size = max(model.size_multiple, min(model.native_size) // model.size_multiple * model.size_multiple)
    return LatentDenoiser(pipe, Tiling(1, size, size, int(size * TILE_OVERLAP_FRACTION), blend=True))
