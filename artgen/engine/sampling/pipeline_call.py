"""One call of a diffusers pipeline: pictures of one shape, drawn together."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from artgen import images
from artgen._version import __version__
from artgen.engine.acceleration import cpu_attention, policy
from artgen.engine.acceleration.apply import is_compiled, optimized
from artgen.engine.acceleration.fast_hooks import with_approximations
from artgen.engine.loading import lora, pipeline_cache, schedulers
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import MemorySettings
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import masked_latents, prompt_embeddings, prompts, text_encoder_offload
from artgen.engine.sampling.frames import StepRecorder
from artgen.engine.sampling.nan_guard import DecodedBatch, NanGuard, redecode_fp32
from artgen.errors import FilteredError, NonFiniteError, UsageError
from artgen.events import Decoding, Listener, ModelSelected, Notice, PlanNote, StepEvent
from artgen.jobs.prepare import Job
from artgen.spec.records import to_record
from artgen.spec.settings import FramesSettings

TASK_MODULES = {"txt2img": "txt2img", "img2img": "img2img", "inpaint": "inpaint", "outpaint": "inpaint"}


class ProgressReporter:
    """Says which picture of how many is at which step."""

    def __init__(
        self, listener: Listener, first: int, num_images: int, total: int, remaining_seconds: float = 0.0
    ) -> None:
        self.listener = listener
        self.remaining_seconds = remaining_seconds
        self._position = (first, num_images, total)

    def on_step(self, done: int, steps: int) -> None:
        self.listener(StepEvent(done, steps, *self._position))


def run_pipeline(
    jobs: Sequence[Job],
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
    frames: FramesSettings | None = None,
) -> list[GeneratedImage | FailedImage]:
    """Draws pictures in one call.

    Args:
        jobs: alike but for words, seeds and what they start from.
        batch_size: of the device batch, at least as many; the last job is in those that are left over, too.
        device_config: where.
        memory_settings: how sparingly.
        progress: is told of each step.
        frames: what to show of the making.
    """
    request = jobs[0].prompt_request
    filled = [*jobs, *[jobs[-1]] * (batch_size - len(jobs))]
    told = (
        text_encoder_offload.cached_embeddings(filled, device_config)
        if text_encoder_offload.encodes_prompts_first(memory_settings, device_config)
        else None
    )
    blended = jobs[0].mask is not None and masked_latents.needs_latent_masking(jobs[0].model)
    task = importlib.import_module(f"artgen.engine.sampling.{'img2img' if blended else TASK_MODULES[request.task]}")
    pipe = _prepare_pipeline(filled, task.PIPELINE, device_config, memory_settings, progress.listener)
    plan = _plan_optimizations(pipe, filled, device_config, memory_settings, progress)
    recorder = StepRecorder(pipe, frames) if frames else None
    lost = [_truncated_prompts(job, progress.listener) for job in jobs]
    latents = NanGuard(
        progress.on_step, batch_size, masked_latents.MaskedLatentCallback(pipe, filled) if blended else None
    )
    try:
        attached = with_approximations(pipe, request.fast, jobs[0].extras)
        with (
            pipeline_cache.silence_libraries(),
            cpu_attention.use_chunked_attention(device_config),
            optimized(pipe, plan),
            attached,
        ):
            result = pipe(**_pipeline_kwargs(pipe, filled, task.arguments(filled), latents, told))
    except NonFiniteError:
        return [FailedImage(job.request, latents.nonfinite_error(i, device_config)) for i, job in enumerate(jobs)]
    progress.listener(Decoding())
    decoded = DecodedBatch(
        np.array(result.images), list(getattr(result, "nsfw_content_detected", None) or [False] * batch_size)
    )
    mended = redecode_fp32(pipe, decoded, latents, progress.listener)
    fallbacks = [*memory_settings.fallbacks, *(["decoder in fp32"] if mended else [])]
    facts = {
        "batch_size": batch_size,
        "rounding": plan.inexact_optimizations,
        "fallbacks": fallbacks,
        **_library_versions(),
    }
    settled: dict[str, Any] = {"device": device_config.device, "dtype": device_config.dtype}
    if memory_settings.auto:
        settled |= {"offload": memory_settings.offload, "vae_tiling": memory_settings.vae_tiling}
    outcomes: list[GeneratedImage | FailedImage] = []
    for i, job in enumerate(jobs):
        if not latents.finite[i] or not np.isfinite(decoded.pixels[i]).all():
            outcomes.append(FailedImage(job.request, latents.nonfinite_error(i, device_config)))
        elif decoded.filtered[i]:
            outcomes.append(FailedImage(job.request, _filtered_error()))
        else:
            picture = _to_generated_image(job, decoded.pixels[i], {**job.provenance, **facts, **lost[i]}, settled)
            outcomes.append(_attach_frames(picture, recorder, i, job, progress.listener) if recorder else picture)
    return outcomes


def _prepare_pipeline(
    jobs: list[Job],
    pipeline_kind: str,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    listener: Listener,
) -> Any:
    """The model as a pipeline of a kind, with the scheduler and the LoRAs that the jobs share."""
    job, request = jobs[0], jobs[0].prompt_request
    listener(ModelSelected(job.model.name, device_config.device, device_config.dtype))
    base = pipeline_cache.load_pipeline(
        job.model,
        device_config,
        offload=memory_settings.offload,
        vae_tiling=memory_settings.vae_tiling,
        safety_checker=request.safety_checker,
        listener=listener,
    )
    offloading.enable_vae_slicing_if_large(base, len(jobs), job.width * job.height)
    lora.set_loras(base, job.loras, device_config, memory_settings.offload)
    pipe = pipeline_cache.pipeline_for_task(base, pipeline_kind, request.task)
    pipe.scheduler = schedulers.use_cpu_timesteps(
        schedulers.build_scheduler(base.scheduler, request.scheduler, request.sigmas)
    )
    schedulers.check_steps(pipe.scheduler, request.steps or 1)
    return pipe


def _library_versions() -> dict[str, str]:
    return {
        "artgen": __version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _plan_optimizations(
    pipe: Any, jobs: list[Job], device_config: DeviceConfig, memory_settings: MemorySettings, progress: ProgressReporter
) -> policy.OptimizationPlan:
    job, request = jobs[0], jobs[0].prompt_request
    whole = memory_settings.offload in (None, "none")
    plan = policy.select_optimizations(
        policy.OptimizationContext(
            level=request.acceleration or "exact",
            device=device_config.device,
            dtype=device_config.dtype,
            architecture=job.model.architecture,
            size=job.size,
            batch_size=len(jobs),
            steps=max(1, int((request.steps or 1) * (job.strength or 1))),
            on_device=whole,
            unmodified=whole and device_config.quantize is None and not job.loras and not request.fast,
            vae_upcast=_is_vae_upcast(pipe, job.model.architecture, device_config),
            already_compiled=is_compiled(pipe),
            remaining_seconds=progress.remaining_seconds,
        )
    )
    if plan.cuda_graph and not memory_settings.allow_cuda_graphs:
        plan = replace(plan, cuda_graph=False, reason="no CUDA graph: memory ran out with one")
    if plan.reason:
        progress.listener(PlanNote(plan.reason))
    return plan


def _is_vae_upcast(pipe: Any, architecture: str, device_config: DeviceConfig) -> bool:
    """Whether the pipeline decodes in fp32: SDXL's alone look at `force_upcast`, which others have by default."""
    return architecture == "sdxl" and device_config.dtype == "fp16" and bool(pipe.vae.config.force_upcast)


def _filtered_error() -> FilteredError:
    return FilteredError(
        "The model's safety filter withheld the picture; nothing was written.",
        "Try another --seed or prompt, or --no-safety-checker where that is appropriate.",
    )


def _to_generated_image(
    job: Job, pixels: np.ndarray, provenance: dict[str, Any], resolved_settings: dict[str, Any]
) -> GeneratedImage:
    image = Image.fromarray((pixels * 255).round().astype(np.uint8), "RGB")
    request = job.request.replace(**resolved_settings)
    provenance = {name: value for name, value in provenance.items() if value not in (None, "", [])}
    return GeneratedImage(_postprocess(image, job), to_record(request, provenance), request)


def _attach_frames(
    generated: GeneratedImage, recorder: StepRecorder, index: int, job: Job, listener: Listener
) -> GeneratedImage:
    def finish(image: Image.Image, paste: bool) -> Image.Image:
        listener(Decoding())  # one of many, between which Ctrl-C is heard
        return _postprocess(image, job, paste)

    return replace(generated, frames=recorder.frames(index, job, generated.image, finish))


def _postprocess(image: Image.Image, job: Job, keep_original: bool = True) -> Image.Image:
    """Cuts the padding off and, with `keep_original`, puts untouched pixels back."""
    if job.image is None:
        return image
    image = image.crop((0, 0, job.width, job.height))
    if keep_original and job.mask is not None and getattr(job.request, "keep_original", True):
        return images.composite(job.image, image, job.mask)
    return image


def _truncated_prompts(job: Job, listener: Listener) -> dict[str, str]:
    """What a prompt that is cut loses, as facts for the record."""
    request = job.prompt_request
    if request.long_prompt == "chunk":
        return {}
    lost = {}
    for name, said in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if rest := prompts.truncated_part(job.model, getattr(request, name)):
            listener(Notice(f"the {said} is too long for this model, which does not see its end: {rest}"))
            lost[f"dropped_{name}"] = rest
    return lost


def _pipeline_kwargs(
    pipe: Any,
    jobs: list[Job],
    task_kwargs: dict[str, Any],
    nan_guard: NanGuard,
    prompt_embeds: Mapping[str, torch.Tensor] | None,
) -> dict[str, Any]:
    """Keyword arguments for one call of the pipeline; `prompt_embeds` are the embeddings of its prompts where there are any."""
    request = jobs[0].prompt_request
    accepted = inspect.signature(pipe.__call__).parameters
    # Some image pipelines take their size from the picture.
    arguments = {
        name: value for name, value in task_kwargs.items() if name in accepted or name not in ("width", "height")
    }
    arguments["num_inference_steps"] = request.steps
    arguments["guidance_scale"] = request.guidance_scale
    arguments["generator"] = [torch.Generator("cpu").manual_seed(_generator_seed(job)) for job in jobs]
    arguments["output_type"] = "np"
    arguments["callback_on_step_end"] = nan_guard
    if prompt_embeds is not None:
        return {**arguments, **prompt_embeds}
    words = [job.prompt_request.prompt for job in jobs]
    negatives = [job.prompt_request.negative_prompt for job in jobs]
    if request.long_prompt == "chunk" and any(
        prompts.truncated_part(jobs[0].model, text) for text in (*words, *negatives)
    ):
        return {**arguments, **prompts.encode_chunked(pipe, words, negatives, request.uses_cfg)}
    if prompt_embeddings.supports_embeddings(pipe):
        return {**arguments, **prompt_embeddings.prompt_embeddings(pipe, words, negatives, request.uses_cfg)}
    arguments["prompt"] = words
    if any(negatives):
        if "negative_prompt" not in accepted:
            raise UsageError(f"{type(pipe).__name__} takes no negative prompt.", "Leave --negative-prompt out.")
        arguments["negative_prompt"] = negatives
    return arguments


def _generator_seed(job: Job) -> int:
    # torch takes -2**63 .. 2**64-1 and reads both halves alike.
    return int(job.request.seed or 0)
