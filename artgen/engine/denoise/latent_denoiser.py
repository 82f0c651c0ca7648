"""Denoise in the latent space of Stable Diffusion.

The image is encoded without added noise. Sampling starts at the timestep whose noise level equals the noise level of
the image in latent space, and takes a few steps with an empty prompt. The autoencoder limits the PSNR (Stable
Diffusion: about 24 dB), and details can differ from the input. The `strength` of img2img is not used: at the low noise
levels of photographs, `int(steps * strength)` is 0.
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
"""Overlap of adjacent tiles divided by the tile side; the tile side is the native image size of the model."""


@dataclass(frozen=True)
class LatentDenoiser:
    """Run a Stable Diffusion pipeline as a denoiser.

    Attributes:
        pipe: text-to-image pipeline of diffusers.
        tiling: division of an image into tiles.
    """

    pipe: Any
    tiling: Tiling

    @torch.inference_mode()
    def denoise_tile(
        self, noisy: np.ndarray, sigma: float, steps: int, frame_settings: FramesSettings | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the denoised tile and its frames, without the last frame.

        Args:
            noisy: shape (3, H, W), 0 to 255, float32; the outputs have the same shape and range.
            sigma: standard deviation of the noise in gray levels.
            steps: denoising steps.
            frame_settings: contents of the frames; None for no frames.
        """
        latents, latent_sigma = self._encode(noisy, sigma)
        scheduler = EulerDiscreteScheduler.from_config(self.pipe.scheduler.config, use_karras_sigmas=False)
        sigmas = _sigmas_from(latent_sigma, unscaled_sigmas(scheduler.alphas_cumprod), steps)
        scheduler.set_timesteps(sigmas=sigmas)
        self.pipe.scheduler = scheduler
        recorder = StepRecorder(self.pipe, frame_settings) if frame_settings else None
        prompt = prompt_embeddings.prompt_embeddings(self.pipe, [""], [""], False)
        with pipeline_cache.silence_libraries():
            output = self.pipe(
                **prompt,
                # The pipeline multiplies latents by init_noise_sigma, but the encoded image already is the state.
                latents=latents / scheduler.init_noise_sigma,
                sigmas=sigmas,
                guidance_scale=0.0,
                height=noisy.shape[1],
                width=noisy.shape[2],
                output_type="np",
            )
        denoised: np.ndarray = np.asarray(output.images[0], np.float32).transpose(2, 0, 1) * 255
        frames = recorder.intermediate_images(0) if recorder else ()
        return denoised, [np.asarray(frame, np.float32).transpose(2, 0, 1) for frame in frames]

    def _encode(self, noisy: np.ndarray, sigma: float) -> tuple[torch.Tensor, float]:
        """Return the latents of a tile and the standard deviation of the noise in the latents.

        The encoder changes the noise level. Therefore it is measured: noise of the same sigma is added to the pixels,
        and the change of the latents is the noise in the latents.
        """
        vae = self.pipe.vae
        pixels = torch.from_numpy(np.ascontiguousarray(noisy))[None] / PIXEL_HALF_RANGE - 1
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * (sigma / PIXEL_HALF_RANGE)
        latents, noisier = (encode_images(vae, each.to(vae.device, vae.dtype)) for each in (pixels, pixels + noise))
        return latents, float((noisier - latents).float().std())


def _sigmas_from(sigma: float, trained_sigmas: torch.Tensor, steps: int) -> list[float]:
    """Return sigmas on a logarithmic scale from `sigma` down to the lowest trained sigma, then 0."""
    lowest, highest = float(trained_sigmas[0]), float(trained_sigmas[-1])
    first = min(max(sigma, lowest), highest)
    decreasing = np.geomspace(first, lowest, steps + 1)[:-1].tolist()
    return [*(decreasing if first > lowest else [first]), 0.0]


def load_latent_denoiser(
    model: ResolvedModel, loras: Sequence[LoraRequest], device_config: DeviceConfig, listener: Listener
) -> LatentDenoiser:
    """Return the cached or newly loaded denoiser of a model with LoRAs.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or a LoRA is not compatible with the model.
    """
    base = apply.load_unoptimized(model, device_config, listener)
    lora.set_loras(base, loras, device_config, None)
    pipe = pipeline_cache.pipeline_for_task(base, model, "txt2img")
    tile_size = max(model.size_multiple, min(model.native_size) // model.size_multiple * model.size_multiple)
    overlap = int(tile_size * TILE_OVERLAP_FRACTION)
    return LatentDenoiser(pipe, Tiling(1, tile_size, tile_size, overlap, blend=True))
