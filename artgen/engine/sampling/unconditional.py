"""Run a pipeline of diffusers that generates images from noise without a prompt.

DDPM (Ho et al. 2020, arXiv 2006.11239), DDIM (Song et al. 2021, arXiv 2010.02502), PNDM (Liu et al. 2022, arXiv
2202.09778), score SDE (Song et al. 2021, arXiv 2011.13456), consistency models (Song et al. 2023, arXiv 2303.01469),
unconditional latent diffusion (Rombach et al. 2022, arXiv 2112.10752) and DiT (Peebles and Xie 2023, arXiv 2212.09748).
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from artgen.engine.diffusion.noise_schedule import NoiseLevel
from artgen.engine.loading import pipeline_cache, schedulers
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.memory_policy import make_room
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import preview
from artgen.engine.sampling.frames import Snapshot, StepRecorder
from artgen.engine.sampling.nan_guard import NanGuard
from artgen.engine.sampling.pipeline_call import ProgressReporter, library_versions
from artgen.engine.sampling.pipeline_errors import wrap_pipeline_errors
from artgen.errors import NonFiniteError
from artgen.events import Decoding, ModelSelected
from artgen.jobs.job import SampleJob
from artgen.spec.records import WRITER_FIELDS, to_record
from artgen.spec.settings import FramesSettings

PIXEL_PIPELINES = {"ddim": "DDIMPipeline", "pndm": "PNDMPipeline"}
"""Pipeline class of a pixel-space model for a scheduler. Every other scheduler has the `DDPMPipeline`."""

TENSOR_OUTPUT_PIPELINES = frozenset({"DDPMPipeline", "DDIMPipeline", "ConsistencyModelPipeline", "DiTPipeline"})
"""Pipelines that return tensors. The others return arrays, and fail in half precision."""


def resolve_device_config(job: SampleJob) -> DeviceConfig:
    """Return the device and the precision of a job. With `--dtype auto`, pixel-space models compute in fp32."""
    request, entry = job.request, job.model.pipeline_entry
    in_fp32 = request.dtype == "auto" and (entry.pixel_space or not entry.supports("half-precision"))
    return resolve_device(request.device, "fp32" if in_fp32 else request.dtype, job.model.weight_bytes())


def run_pipeline(
    jobs: Sequence[SampleJob],
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
    frames: FramesSettings | None = None,
) -> list[GeneratedImage | FailedImage]:
    """Generate a batch of images with one pipeline call.

    Args:
        jobs: Jobs that differ only in seed and class.
        batch_size: Batch size of the pipeline, at least the number of jobs. The last job fills the remaining places.
        device_config: Device and precision.
        memory_settings: Memory settings of the call.
        progress: Receives the steps.
        frames: Intermediate steps to return. None: no frames.

    Raises:
        ModelUnavailableError: Weights are missing or damaged, or the pipeline fails.
    """
    model = jobs[0].model
    progress.listener(ModelSelected(model.name, device_config.device, device_config.dtype))
    base = pipeline_cache.load_pipeline(
        model,
        device_config,
        offload=memory_settings.offload,
        vae_tiling=memory_settings.vae_tiling,
        safety_checker=False,
        listener=progress.listener,
        make_room=lambda: make_room(model, jobs[0], batch_size, device_config, memory_settings),
    )
    pipe = _create_pipeline(base, jobs[0])
    recorder = _recorder(pipe, frames) if frames else None
    if progress.previews and preview.can_decode(memory_settings, device_config, progress.listener):
        has_vae = not model.pipeline_entry.pixel_space
        preview.PreviewSender(_recorder(pipe, preview.PREVIEW_FRAMES), progress.listener, has_vae=has_vae)
    nan_guard = NanGuard(progress.on_step, batch_size)
    _watch_steps(pipe.scheduler, nan_guard, batch_size)
    arguments = _call_arguments(pipe, [*jobs, *[jobs[-1]] * (batch_size - len(jobs))])
    try:
        with pipeline_cache.silence_libraries(), wrap_pipeline_errors(jobs[0]):
            images = pipe(**arguments).images
    except NonFiniteError:
        return [FailedImage(job.request, nan_guard.nonfinite_error(i, device_config)) for i, job in enumerate(jobs)]
    progress.listener(Decoding())
    pixels = images.float().cpu().permute(0, 2, 3, 1).numpy() if isinstance(images, torch.Tensor) else np.array(images)
    provenance = {"batch_size": batch_size, "fallbacks": list(memory_settings.fallbacks)}
    return [_outcome(job, pixels[i], nan_guard, i, device_config, provenance, recorder) for i, job in enumerate(jobs)]


def _create_pipeline(base: Any, job: SampleJob) -> Any:
    """Return a pipeline with the components of `base`, a new scheduler, and the class that fits the scheduler."""
    request = job.request
    name = type(base).__name__
    scheduler = schedulers.build_scheduler(base.scheduler, request.scheduler, None)
    if job.model.pipeline_entry.pixel_space and request.scheduler is not None:
        name = PIXEL_PIPELINES.get(request.scheduler, "DDPMPipeline")
    pipe = pipeline_cache.share_components(base, getattr(diffusers, name), scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _call_arguments(pipe: Any, jobs: Sequence[SampleJob]) -> dict[str, Any]:
    request = jobs[0].request
    available = {
        "batch_size": len(jobs),
        "class_labels": None if jobs[0].class_number is None else [job.class_number for job in jobs],
        "guidance_scale": request.guidance_scale,
        "num_inference_steps": request.steps,
        "generator": [torch.Generator("cpu").manual_seed(int(job.request.seed or 0)) for job in jobs],
        "output_type": "pt" if type(pipe).__name__ in TENSOR_OUTPUT_PIPELINES else "np",
    }
    accepted = inspect.signature(pipe.__call__).parameters
    return {name: value for name, value in available.items() if name in accepted}


def _watch_steps(scheduler: Any, nan_guard: NanGuard, batch_size: int) -> None:
    """Call the guard after each step of a scheduler, which is used for one pipeline call only.

    These pipelines have no `callback_on_step_end`.
    """
    name = "step_pred" if hasattr(scheduler, "step_pred") else "step"
    step: Callable[..., Any] = getattr(scheduler, name)
    completed = 0

    @functools.wraps(step)  # pipelines inspect its parameters
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal completed
        output = step(*args, **kwargs)
        state = output[0] if isinstance(output, tuple) else output.prev_sample
        num_timesteps = SimpleNamespace(num_timesteps=len(scheduler.timesteps))
        # With guidance, the second half of the states of DiT equals the first half.
        nan_guard(num_timesteps, completed, None, {"latents": state[:batch_size]})
        completed += 1
        return output

    setattr(scheduler, name, watched)


def _outcome(
    job: SampleJob,
    pixels: np.ndarray,
    nan_guard: NanGuard,
    index: int,
    device_config: DeviceConfig,
    provenance: dict[str, Any],
    recorder: StepRecorder | None,
) -> GeneratedImage | FailedImage:
    """Return the image of a job with its record, or its failure. `pixels` has the shape (H, W, C), from 0 to 1."""
    if not nan_guard.finite[index] or not np.isfinite(pixels).all():
        return FailedImage(job.request, nan_guard.nonfinite_error(index, device_config))
    request = job.request.replace(device=device_config.device, dtype=device_config.dtype)
    facts = {**job.provenance, **provenance, **WRITER_FIELDS, **library_versions()}
    record = to_record(request, {name: value for name, value in facts.items() if value not in (None, "", [])})
    image = to_image(pixels)
    frames = () if recorder is None else (*recorder.intermediate_images(index), image)
    return GeneratedImage(image, record, request, frames=frames)


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return the image of an array (H, W, C), from 0 to 1; one channel gives the mode L."""
    values = (pixels * 255).round().astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def _recorder(pipe: Any, settings: FramesSettings) -> StepRecorder:
    if isinstance(pipe, diffusers.ConsistencyModelPipeline):
        return _ConsistencyRecorder(pipe, settings)
    return _UnconditionalRecorder(pipe, settings)


class _UnconditionalRecorder(StepRecorder):
    """Record the steps of a pipeline without a prompt. In pixel space, the states are decoded without a VAE."""

    def decode(self, latents: list[torch.Tensor]) -> Iterator[Image.Image]:
        decoder = getattr(self._pipe, "vae", None) or getattr(self._pipe, "vqvae", None)
        for each in latents:
            state = each[None].float()
            if decoder is not None:
                with torch.no_grad():
                    scaled = state.to(decoder.device, decoder.dtype) / decoder.config.scaling_factor
                    state = decoder.decode(scaled).sample.float().cpu()
            if state.isfinite().all():
                yield to_image((state / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy())


class _ConsistencyRecorder(_UnconditionalRecorder):
    """Record the steps of a consistency model, whose scheduler computes x0 with boundary conditions."""

    def _record_step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> None:
        scheduler = self._scheduler
        index = scheduler.index_for_timestep(timestep)
        sigma = scheduler.sigmas[index]
        if self._num_calls % self._frame_interval() == 0:
            if self._settings.frames_show == "x0":
                skip, out = scheduler.get_scalings_for_boundary_condition(sigma)
                shown = out * model_output + skip * sample
                shown = shown.clamp(-1, 1) if scheduler.config.clip_denoised else shown
            else:
                shown = sample / (sigma**2 + scheduler.config.sigma_data**2) ** 0.5
            self.snapshots.append(Snapshot(NoiseLevel.from_sigma(float(sigma)), shown.float().cpu()))
        self._num_calls += 1
