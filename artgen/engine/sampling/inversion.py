"""Invert DDIM sampling: find the noise from which DDIM generates the latents of an input image.

DDIM without noise is a deterministic map (Song et al. 2021, arXiv 2010.02502). Its inverse at a step is implicit: the
denoiser's output depends on the noisier latents, which are unknown. Fixed-point iterations solve for them (ReNoise,
Garibi et al. 2024, arXiv 2403.14602). The inverse scheduler runs in the txt2img pipeline of the model, from the latents
of the image to noise. The same pipeline then samples from this noise with the prompt of the edit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import DDIMScheduler

from artgen.engine.loading.device import execution_device
from artgen.engine.loading.pipeline_cache import pipeline_for_task
from artgen.engine.sampling.conditioning import Conditioning
from artgen.engine.sampling.prompt_arguments import text_arguments
from artgen.engine.sampling.vae import encode_images
from artgen.jobs.edit_checks import INVERSION_CALLS_PER_STEP
from artgen.jobs.job import GenerationJob


class InverseDDIMScheduler(DDIMScheduler):  # type: ignore[misc]  # diffusers has no types
    """Run the steps of a DDIM scheduler backwards, each with `INVERSION_CALLS_PER_STEP` fixed-point iterations.

    Attributes:
        timesteps: timesteps of the DDIM scheduler in increasing order, each repeated for its iterations.
    """

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the timesteps of `num_inference_steps` DDIM steps."""
        super().set_timesteps(num_inference_steps, device)
        self.timesteps: torch.Tensor = self.timesteps.flip(0).repeat_interleave(INVERSION_CALLS_PER_STEP)
        self._num_calls = 0
        self._less_noisy: torch.Tensor | None = None

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, return_dict: bool = True, **_: Any
    ) -> Any:
        if self._less_noisy is None or self._num_calls % INVERSION_CALLS_PER_STEP == 0:
            self._less_noisy = sample
        self._num_calls += 1
        scale, weight = self._ddim_coefficients(int(timestep))
        solved = ((self._less_noisy.float() - weight * model_output.float()) / scale).to(sample.dtype)
        return {"prev_sample": solved} if return_dict else (solved, None)

    def _ddim_coefficients(self, timestep: int) -> tuple[float, float]:
        """Return a and b of the DDIM step z_previous = a * z + b * output of the denoiser at a timestep."""
        previous = timestep - self.config.num_train_timesteps // self.num_inference_steps
        alpha_bar = float(self.alphas_cumprod[timestep])
        alpha_bar_previous = float(self.alphas_cumprod[previous] if previous >= 0 else self.final_alpha_cumprod)
        alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        alpha_previous, sigma_previous = alpha_bar_previous**0.5, (1 - alpha_bar_previous) ** 0.5
        if self.config.prediction_type == "v_prediction":
            return alpha_previous * alpha + sigma_previous * sigma, sigma_previous * alpha - alpha_previous * sigma
        return alpha_previous / alpha, sigma_previous - alpha_previous * sigma / alpha


def uses_inversion(job: GenerationJob) -> bool:
    """Return whether a job samples from the inverted input image."""
    return bool(getattr(job.request, "invert", False))


def num_calls(job: GenerationJob) -> int:
    """Return the number of denoiser calls of the inversion; 0 for other jobs."""
    return INVERSION_CALLS_PER_STEP * int(job.request.steps or 1) if uses_inversion(job) else 0


def linear_scheduler(scheduler: Any) -> Any:
    """Return a DDIM scheduler without clipping: a clipped step has no inverse."""
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False, thresholding=False)


def source_jobs(jobs: Sequence[GenerationJob]) -> list[GenerationJob]:
    """Return jobs whose prompts describe the input images, without guidance."""
    return [
        replace(
            job,
            request=job.request.replace(
                prompt=getattr(job.request, "source_prompt", ""), negative_prompt="", guidance_scale=1.0
            ),
        )
        for job in jobs
    ]


def inverted_latents(
    pipe: Any,
    jobs: Sequence[GenerationJob],
    conditioning: Conditioning | None,
    on_step: Callable[[int, int], None],
) -> torch.Tensor:
    """Return the noise of which DDIM generates the input images, shape (B, C, H/f, W/f).

    Args:
        pipe: pipeline with a DDIM scheduler.
        jobs: jobs of `source_jobs`.
        conditioning: embeddings of their prompts; None: the pipeline encodes the prompts.
        on_step: receives the number of completed calls and the number of calls.
    """
    inverse = pipeline_for_task(pipe, jobs[0].model, "txt2img")
    inverse.scheduler = InverseDDIMScheduler.from_config(pipe.scheduler.config)
    latents = torch.cat([_encode_source(pipe, job) for job in jobs])

    def report(pipe: Any, call: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        on_step(call + 1, num_calls(jobs[0]))
        return {}

    width, height = jobs[0].padded_size
    inverted: torch.Tensor = inverse(
        width=width,
        height=height,
        num_inference_steps=jobs[0].request.steps,
        guidance_scale=1.0,
        latents=latents,
        output_type="latent",
        callback_on_step_end=report,
        **(text_arguments(jobs) if conditioning is None else conditioning.arguments),
    ).images
    return inverted


def _encode_source(pipe: Any, job: GenerationJob) -> torch.Tensor:
    pixels = pipe.image_processor.preprocess(job.padded_image).to(execution_device(pipe), pipe.vae.dtype)
    return encode_images(pipe.vae, pixels)
