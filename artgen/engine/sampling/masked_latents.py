"""Inpainting with models for which diffusers has no inpainting pipeline.

diffusers' inpainting pipeline takes UNets of 4 or 9 channels. Models with wider latents (the bundled one has 16) are
held to the surroundings here, over the image-to-image pipeline and by the same scheme: after each step the latents
outside the mask are replaced by the source's, noised to that step's level (the basic scheme of RePaint, Lugmayr et al.
2022, arXiv 2201.09865).
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from artgen.engine.sampling.vae import encode_images
from artgen.jobs.prepare import Job
from artgen.registry import ResolvedModel


def needs_latent_masking(model: ResolvedModel) -> bool:
    """Whether a model can inpaint in no other way: a UNet over latents that are not 4 channels wide."""
    return model.architecture in ("sd1", "sd2", "sdxl") and model.unet_channels == model.latent_channels != 4


class MaskedLatentCallback:
    """Puts the source's latents back outside the mask, after each step."""

    def __init__(self, pipe: Any, jobs: list[Job]) -> None:
        self.source_latents = torch.cat([_encode_source(pipe, job) for job in jobs])
        masks = torch.from_numpy(np.stack([np.asarray(job.padded_mask) for job in jobs]))[:, None].float() / 255
        # A latent that touches the mask at all is repainted; the pixels beside it are pasted back in the end.
        self.mask = functional.adaptive_max_pool2d(masks, self.source_latents.shape[-2:]).to(self.source_latents)
        # Other noise than the pipeline's own, and the same for the same seed.
        shape = self.source_latents.shape[1:]
        generators = [torch.Generator("cpu").manual_seed(_noise_seed(job)) for job in jobs]
        self.noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(
            self.source_latents
        )

    def __call__(self, pipe: Any, step: int, latents: torch.Tensor) -> torch.Tensor:
        """The latents after `step` (counted from 0) with the surroundings put back; same shape."""
        timesteps = pipe.scheduler.timesteps
        following = len(timesteps) - int(pipe.num_timesteps) + step + 1
        known = self.source_latents
        if following < len(timesteps):
            at = timesteps[following].reshape(1).repeat(len(known))
            known = pipe.scheduler.add_noise(known, self.noise, at)
        mask = self.mask.to(latents)
        return mask * latents + (1 - mask) * known.to(latents)


def _encode_source(pipe: Any, job: Job) -> torch.Tensor:
    pixels = pipe.image_processor.preprocess(job.padded_image).to(pipe._execution_device, pipe.vae.dtype)
    return encode_images(pipe.vae, pixels)


def _noise_seed(job: Job) -> int:
    return (int(job.request.seed or 0) + 0x9E3779B9) % 2**64
