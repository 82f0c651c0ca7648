"""Run one call of a diffusers pipeline, which generates a batch of images."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from artgen.engine.acceleration.apply import (
    OptimizationError,
    disable_optimizations,
    optimized,
)
from artgen.engine.acceleration.fast_hooks import with_approximations
from artgen.engine.acceleration.openvino.denoiser import with_openvino
from artgen.engine.control.arguments import control_arguments
from artgen.engine.control.latents import seeded_control_latents
from artgen.engine.image_prompts.attach import with_image_prompts
from artgen.engine.loading import pipeline_cache, schedulers
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.embeddings import attached_embeddings
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import hires, inversion, masked_latents, preview, refiner, text_encoder_offload
from artgen.engine.sampling.call_arguments import call_arguments
from artgen.engine.sampling.conditioning import Conditioning, conditioned
from artgen.engine.sampling.frames import StepRecorder
from artgen.engine.sampling.guidance import with_guidance
from artgen.engine.sampling.nan_guard import DecodedBatch, NanGuard, redecode_fp32
from artgen.engine.sampling.outcomes import BatchOutput
from artgen.engine.sampling.panorama import with_windows
from artgen.engine.sampling.pipeline_errors import wrap_pipeline_errors
from artgen.engine.sampling.prepared_pipeline import job_seeds, plan_optimizations, prepare_pipeline
from artgen.engine.sampling.prompt_arguments import prompt_conditioning, truncated_prompts
from artgen.engine.sampling.safety_checker import flagged_images, kept_pixels
from artgen.engine.sampling.seamless import with_seamless_padding
from artgen.engine.sampling.task_arguments import task_arguments
from artgen.engine.sampling.variation_noise import mixed_noise
from artgen.errors import NonFiniteError
from artgen.events import Decoding, Listener, Notice, StageStarted, StepEvent
from artgen.jobs.edit_checks import needs_latent_masking
from artgen.jobs.job import GenerationJob
from artgen.spec.records import WRITER_FIELDS
from artgen.spec.requests import TASKS
from artgen.spec.settings import FramesSettings


class ProgressReporter:
    """Report the steps of a pipeline call as events.

    Attributes:
        listener: Receives the events.
        remaining_seconds: Estimated duration of all remaining images in seconds. 0: unknown.
        previews: Whether the listener receives previews.
        steps_before: Completed steps of earlier calls for the same images.
        steps_after: Steps of later calls for the same images.
    """

    def __init__(
        self,
        listener: Listener,
        first: int,
        num_images: int,
        total: int,
        remaining_seconds: float = 0.0,
        *,
        previews: bool = False,
    ) -> None:
        """Create a reporter for images `first` to `first + num_images - 1` of `total`, counted from 1."""
        self.listener = listener
        self.remaining_seconds = remaining_seconds
        self.previews = previews
        self.steps_before = self.steps_after = 0
        self._position = (first, num_images, total)

    def for_pass(self, listener: Listener, *, before: int = 0, after: int = 0) -> "ProgressReporter":
        """Return a reporter for one of several pipeline calls that generate the same images, with another listener."""
        reporter = copy.copy(self)
        reporter.listener, reporter.steps_before, reporter.steps_after = listener, before, after
        return reporter

    def on_step(self, completed_steps: int, num_steps: int) -> None:
        """Report a completed denoising step."""
        total = self.steps_before + num_steps + self.steps_after
        self.listener(StepEvent(self.steps_before + completed_steps, total, *self._position))

    def on_tile(self, finished_tiles: int, num_tiles: int) -> None:
        """Report the finished tiles of an image."""
        self.listener(StepEvent(finished_tiles, num_tiles, *self._position, unit="tile"))

    def on_step_after(self, num_before: int) -> Callable[[int, int], None]:
        """Return a function that reports the steps after `num_before` other steps of the same images."""
        return lambda completed, num_steps: self.on_step(num_before + completed, num_before + num_steps)


def run_pipeline(
    jobs: Sequence[GenerationJob],
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
    frames: FramesSettings | None = None,
) -> list[GeneratedImage | FailedImage]:
    """Generate a batch of images with one pipeline call.

    Args:
        jobs: Jobs that differ only in prompt, seed and input image.
        batch_size: Batch size of the pipeline, at least the number of jobs. The last job fills the remaining places.
        device_config: Device and precision.
        memory_settings: Memory settings of the call.
        progress: Receives the steps.
        frames: Intermediate steps to return. None: no frames.

    Raises:
        ModelUnavailableError: Weights are missing, damaged or of another architecture.
        UsageError: The scheduler or the pipeline does not support a setting.
    """
    try:
        return _run_pipeline_once(jobs, batch_size, device_config, memory_settings, progress, frames)
    except OptimizationError as error:
        reason = str(error).rstrip(".")
    # Outside the except block: the traceback references the modified pipeline.
    disable_optimizations(jobs[0].model)
    pipeline_cache.clear_cache()
    progress.listener(Notice(f"An optimization failed: {reason}. Retrying without optimizations."))
    return _run_pipeline_once(jobs, batch_size, device_config, memory_settings, progress, frames)


def _run_pipeline_once(
    jobs: Sequence[GenerationJob],
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
    frames: FramesSettings | None,
) -> list[GeneratedImage | FailedImage]:
    """Generate a batch of images.

    Raises:
        OptimizationError: An optimization failed, and the cached pipeline may be modified.
    """
    padded_jobs = [*jobs, *[jobs[-1]] * (batch_size - len(jobs))]
    conditioning = (
        text_encoder_offload.cached_embeddings(padded_jobs, device_config)
        if text_encoder_offload.encodes_prompts_first(memory_settings, device_config)
        else None
    )
    inverts = inversion.uses_inversion(jobs[0])
    task = TASKS[jobs[0].request.task]
    masks_latents = task.pipeline_kind == "Inpainting" and needs_latent_masking(jobs[0].model)
    task = TASKS["txt2img" if inverts else "img2img" if masks_latents else task.name]
    pipe = prepare_pipeline(padded_jobs, task.name, device_config, memory_settings, progress.listener)
    plan = plan_optimizations(
        pipe, padded_jobs, device_config, memory_settings, progress.listener, progress.remaining_seconds
    )
    recorder = StepRecorder(pipe, frames) if frames else None
    if progress.previews and preview.can_decode(memory_settings, device_config, progress.listener):
        preview.PreviewSender(StepRecorder(pipe, preview.PREVIEW_FRAMES), progress.listener, has_vae=True)
    truncated = [truncated_prompts(job, progress.listener) for job in jobs]
    on_step = progress.on_step_after(inversion.num_calls(jobs[0]))
    nan_guard = NanGuard(on_step, batch_size, masked_latents.step_callback(pipe, padded_jobs))
    openvino = functools.partial(with_openvino, config=device_config, listener=progress.listener, enabled=plan.openvino)
    try:
        with (
            wrap_pipeline_errors(jobs[0]),
            pipeline_cache.silence_libraries(),
            optimized(pipe, plan),
            openvino(pipe, jobs[0].model) as openvino_facts,
            with_seamless_padding(pipe, jobs[0]),
            with_windows(pipe, jobs[0]),
            kept_pixels(pipe, jobs[0]) as kept_flags,
            with_approximations(pipe, jobs[0].request.fast, jobs[0].extras),
        ):
            conditioning = conditioning or _encode_prompts(pipe, padded_jobs, progress.listener)
            kwargs = call_arguments(pipe, padded_jobs, task_arguments(task, padded_jobs), nan_guard, conditioning)
            kwargs |= control_arguments(pipe, padded_jobs)
            kwargs |= hires.latent_arguments(pipe, padded_jobs)
            if inverts:
                kwargs["latents"] = _inverted_latents(pipe, padded_jobs, device_config, memory_settings, progress)
            with (
                with_image_prompts(
                    pipe, padded_jobs, device_config, memory_settings.offload, progress.listener
                ) as image_arguments,
                conditioned(pipe, conditioning, batch_size) as step_counter,
                with_guidance(pipe, jobs[0]),
                seeded_control_latents(pipe, job_seeds(padded_jobs)),
                mixed_noise(pipe, padded_jobs, kwargs["generator"]),
            ):
                result = pipe(**{**kwargs, **image_arguments, **refiner.base_arguments(jobs[0])})
        if jobs[0].model.refiner is not None:
            scheduler = pipe.scheduler
            del pipe  # So that the memory of the base model can be released.
            pipe = refiner.load_refiner(
                jobs[0], batch_size, scheduler, device_config, memory_settings, progress.listener
            )
            schedulers.seed_noise(pipe.scheduler, job_seeds(padded_jobs))
            with wrap_pipeline_errors(jobs[0]), pipeline_cache.silence_libraries():
                conditioning = _encode_prompts(pipe, padded_jobs, progress.listener)
                refined = call_arguments(
                    pipe, padded_jobs, refiner.arguments(jobs[0], result.images), nan_guard, conditioning
                )
                first_step = step_counter.next_step
                with (
                    openvino(pipe, jobs[0].model.refiner),
                    conditioned(pipe, conditioning, batch_size, first_step),
                    with_guidance(pipe, jobs[0]),
                ):
                    # The generators continue: an ancestral scheduler must not add the initial noise again.
                    result = pipe(**{**refined, "generator": kwargs["generator"]})
    except NonFiniteError:
        return [FailedImage(job.request, nan_guard.nonfinite_error(i, device_config)) for i, job in enumerate(jobs)]
    filtered = flagged_images(result, kept_flags, batch_size, jobs[0])
    with with_seamless_padding(pipe, jobs[0]), kept_pixels(pipe, jobs[0], hides_flags=False):
        decoded = _decoded_batch(result, filtered, progress.listener)
        redecoded = redecode_fp32(pipe, decoded, nan_guard, progress.listener)
    fallbacks = [*memory_settings.fallbacks, *(["decoder in fp32"] if redecoded else [])]
    provenance = {
        "batch_size": batch_size,
        "rounding": plan.inexact_optimizations,
        "fallbacks": fallbacks,
        **WRITER_FIELDS,
        **library_versions(),
        **openvino_facts,
    }
    resolved_settings = _resolved_settings(device_config, memory_settings)
    output = BatchOutput(decoded, nan_guard, device_config, provenance, resolved_settings, recorder, progress.listener)
    return [output.outcome(i, job, truncated[i]) for i, job in enumerate(jobs)]


def _encode_prompts(pipe: Any, jobs: Sequence[GenerationJob], listener: Listener) -> Conditioning | None:
    listener(StageStarted("encode"))
    with attached_embeddings(pipe, jobs[0].embeddings):
        conditioning = prompt_conditioning(pipe, jobs)
    listener(StageStarted("denoise"))
    return conditioning


def _inverted_latents(
    pipe: Any,
    jobs: Sequence[GenerationJob],
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
) -> torch.Tensor:
    """Return the noise of which DDIM generates the input images of jobs; see `artgen.engine.sampling.inversion`."""
    sources = inversion.source_jobs(jobs)
    if text_encoder_offload.encodes_prompts_first(memory_settings, device_config):
        conditioning: Conditioning | None = text_encoder_offload.cached_embeddings(sources, device_config)
    else:
        with attached_embeddings(pipe, jobs[0].embeddings):
            conditioning = prompt_conditioning(pipe, sources)
    steps = int(jobs[0].request.steps or 1)
    return inversion.inverted_latents(
        pipe, sources, conditioning, lambda done, total: progress.on_step(done, total + steps)
    )


def _decoded_batch(result: Any, filtered: list[bool], listener: Listener) -> DecodedBatch:
    """Return the images of the output of a pipeline."""
    listener(Decoding())
    images = result.images if hasattr(result, "images") else result.image
    pixels = np.array(images)
    if pixels.dtype == np.uint8:  # A pipeline that crops the masked area returns images of Pillow.
        pixels = pixels.astype(np.float32) / 255
    return DecodedBatch(pixels, filtered)


def _resolved_settings(device_config: DeviceConfig, memory_settings: MemorySettings) -> dict[str, Any]:
    """Return the settings whose values were selected for the call, for the record."""
    settings: dict[str, Any] = {"device": device_config.device, "dtype": device_config.dtype}
    if memory_settings.auto:
        settings |= {"offload": memory_settings.offload, "vae_tiling": memory_settings.vae_tiling}
    return settings


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries for the record."""
    return {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
