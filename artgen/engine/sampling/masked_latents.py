"""Mask the latents of inpainting: with soft masks, and for models that the pipeline of diffusers does not support.

The inpainting pipeline of diffusers accepts UNets with 4 or 9 input channels. For wider latents (the bundled model has
16 channels) artgen uses the img2img pipeline and applies the same method: after each step, the latents outside the mask
are replaced by the source latents, noised to the noise level of that step (the basic method of RePaint, Lugmayr et al.
2022, arXiv 2201.09865).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.nan_guard import StepCallback
from artgen.engine.sampling.vae import encode_images
from artgen.jobs.edit_checks import needs_latent_masking
from artgen.jobs.job import GenerationJob


def released(strengths: torch.Tensor, step: int, num_steps: int) -> torch.Tensor:
    """Return the mask after a step: 1 where the latents are generated, 0 where the source latents are restored.

    A pixel of strength s is restored until int(s * num_steps) steps remain, as img2img with this strength starts
    (differential diffusion, Levin and Fried 2023, arXiv 2306.00950). Strength 255 is generated in all steps.

    Args:
        strengths: strengths, 0 to 255, any shape.
        step: step, counted from 0.
        num_steps: number of steps of the pipeline call.
    """
    return (strengths * num_steps >= 255 * (num_steps - step)).to(strengths)


def step_callback(pipe: Any, jobs: Sequence[GenerationJob]) -> StepCallback | None:
    """Return the callback that masks the latents of jobs, or None if the pipeline masks them."""
    if jobs[0].mask is not None and needs_latent_masking(jobs[0].model):
        return MaskedLatentCallback(pipe, jobs)
    return SoftMaskCallback(pipe, jobs) if jobs[0].strength_map is not None else None


class MaskedLatentCallback:
    """Restore the source latents outside the mask after each step.

    Attributes:
        source_latents: Latents of the input images, shape (B, C, H/f, W/f), where f is the VAE scale factor.
        strengths: Strength of each latent, 0 to 255. Shape (B, 1, H/f, W/f).
        noise: Noise added to the source latents. Same shape as `source_latents`.
    """

    variables: tuple[str, ...] = ()

    def __init__(self, pipe: Any, jobs: Sequence[GenerationJob]) -> None:
        self.source_latents = torch.cat([_encode_source(pipe, job) for job in jobs])
        # Every latent that overlaps the mask is generated. The pixels outside the mask are restored after decoding.
        strengths = functional.adaptive_max_pool2d(_stack_strengths(jobs), self.source_latents.shape[-2:])
        self.strengths = strengths.to(self.source_latents.device)
        # The noise depends only on the seed, and differs from the noise of the pipeline.
        shape = self.source_latents.shape[1:]
        generators = [torch.Generator("cpu").manual_seed(_noise_seed(job)) for job in jobs]
        self.noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(
            self.source_latents
        )

    def __call__(self, pipe: Any, step: int, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the latents after `step` (counted from 0) with the source latents outside the mask. Same shape."""
        latents, known = values["latents"], self.source_latents
        if (timestep := _next_timestep(pipe, step)) is not None:
            known = pipe.scheduler.add_noise(known, self.noise, timestep.repeat(len(known)))
        mask = released(self.strengths, step, int(pipe.num_timesteps)).to(latents)
        return mask * latents + (1 - mask) * known.to(latents)


class SoftMaskCallback:
    """Restore the source latents of the gray pixels after each step of an inpainting pipeline of diffusers.

    The pipeline itself restores the source latents of the black pixels, with the same noise and the same formula.
    """

    variables: tuple[str, ...] = ("image_latents", "noise")

    def __init__(self, pipe: Any, jobs: Sequence[GenerationJob]) -> None:
        width, height = jobs[0].padded_size
        size = (height // pipe.vae_scale_factor, width // pipe.vae_scale_factor)
        # Nearest neighbors, as in the pipeline.
        self._strengths = functional.interpolate(_stack_strengths(jobs), size=size).to(execution_device(pipe))

    def __call__(self, pipe: Any, step: int, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the latents after `step` (counted from 0) with the source latents outside the mask. Same shape."""
        latents, known = values["latents"], values["image_latents"]
        if (timestep := _next_timestep(pipe, step)) is not None:
            known = pipe.scheduler.add_noise(known, values["noise"], timestep)
        mask = released(self._strengths, step, int(pipe.num_timesteps))
        return torch.where(mask > 0, latents, known.to(latents))


def _next_timestep(pipe: Any, step: int) -> torch.Tensor | None:
    """Return the timestep after a step (counted from 0), shape (1,); None after the last step."""
    timesteps = pipe.scheduler.timesteps
    index = len(timesteps) - int(pipe.num_timesteps) + step + 1
    return timesteps[index].reshape(1) if index < len(timesteps) else None


def _stack_strengths(jobs: Sequence[GenerationJob]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(job.padded_strengths) for job in jobs]))[:, None].float()


def _encode_source(pipe: Any, job: GenerationJob) -> torch.Tensor:
    pixels = pipe.image_processor.preprocess(job.padded_image).to(execution_device(pipe), pipe.vae.dtype)
    return encode_images(pipe.vae, pixels)


def _noise_seed(job: GenerationJob) -> int:
    return (int(job.request.seed or 0) + 0x9E3779B9) % 2**64
