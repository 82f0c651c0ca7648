"""Inpaint with models that the inpainting pipeline of diffusers does not support.

The inpainting pipeline of diffusers accepts UNets with 4 or 9 input channels. For wider latents (the bundled model has
16 channels) artgen uses the img2img pipeline and applies the same method: after each step, the latents outside the mask
are replaced by the source latents, noised to the noise level of that step (the basic method of RePaint, Lugmayr et al.
2022, arXiv 2201.09865).
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.vae import encode_images
from artgen.jobs.job import GenerationJob
from artgen.registry import ResolvedModel


def needs_latent_masking(model: ResolvedModel) -> bool:
    """Return whether a model needs this method: its UNet has neither 4 input channels nor mask channels."""
    has_mask_channels = model.unet_channels != model.latent_channels
    return model.pipeline_entry.supports("latent-masking") and not has_mask_channels and model.latent_channels != 4


class MaskedLatentCallback:
    """Restore the source latents outside the mask after each step.

    Attributes:
        source_latents: Latents of the input images, shape (B, C, H/f, W/f), where f is the VAE scale factor.
        mask: 1 where the latents are generated, 0 elsewhere. Shape (B, 1, H/f, W/f).
        noise: Noise added to the source latents. Same shape as `source_latents`.
    """

    def __init__(self, pipe: Any, jobs: list[GenerationJob]) -> None:
        self.source_latents = torch.cat([_encode_source(pipe, job) for job in jobs])
        masks = torch.from_numpy(np.stack([np.asarray(job.padded_mask) for job in jobs]))[:, None].float() / 255
        # Every latent that overlaps the mask is generated. The pixels outside the mask are restored after decoding.
        self.mask = functional.adaptive_max_pool2d(masks, self.source_latents.shape[-2:]).to(self.source_latents)
        # The noise depends only on the seed, and differs from the noise of the pipeline.
        shape = self.source_latents.shape[1:]
        generators = [torch.Generator("cpu").manual_seed(_noise_seed(job)) for job in jobs]
        self.noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(
            self.source_latents
        )

    def __call__(self, pipe: Any, step: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after `step` (counted from 0) with the source latents outside the mask. Same shape."""
        timesteps = pipe.scheduler.timesteps
        next_index = len(timesteps) - int(pipe.num_timesteps) + step + 1
        known = self.source_latents
        if next_index < len(timesteps):
            timestep = timesteps[next_index].reshape(1).repeat(len(known))
            known = pipe.scheduler.add_noise(known, self.noise, timestep)
        mask = self.mask.to(latents)
        return mask * latents + (1 - mask) * known.to(latents)


def _encode_source(pipe: Any, job: GenerationJob) -> torch.Tensor:
    pixels = pipe.image_processor.preprocess(job.padded_image).to(execution_device(pipe), pipe.vae.dtype)
    return encode_images(pipe.vae, pixels)


def _noise_seed(job: GenerationJob) -> int:
    return (int(job.request.seed or 0) + 0x9E3779B9) % 2**64
