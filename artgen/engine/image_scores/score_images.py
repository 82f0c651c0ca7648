"""Score the images of a job for its prompt."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL import Image

from artgen.engine.batch_runner import device_config_of
from artgen.engine.image_scores.clip_score import clip_scores
from artgen.engine.image_scores.model_score import OnModelCall, model_score
from artgen.engine.loading import loaded_models, lora, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.embeddings import attached_embeddings
from artgen.engine.loading.free_memory import retry_without_idle_models
from artgen.engine.loading.oom import is_oom, raise_if_device_lost
from artgen.engine.lock import ENGINE_LOCK
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.results import GeneratedImage
from artgen.engine.sampling import text_encoder_offload
from artgen.engine.sampling.prompt_arguments import prompt_conditioning
from artgen.errors import MemoryExhaustedError, NonFiniteError
from artgen.events import Decoding, Listener
from artgen.jobs.image_scores import plain_prompt
from artgen.jobs.job import GenerationJob
from artgen.jobs.size import scoring_size
from artgen.registry.score_models import ScoreModel
from artgen.spec.best_of import DEFAULT_SCORE

_GUIDANCE_SCALE = 2.0
"""Any scale that enables classifier-free guidance, so that the embedding of the empty prompt is computed."""


@dataclass(frozen=True)
class Scores:
    """Store the scores of images.

    Attributes:
        values: one score per image; higher is better.
        kind: one of `artgen.spec.settings.IMAGE_SCORES`.
        model: CLIP model; empty for the kind `model`.
    """

    values: tuple[float, ...]
    kind: str
    model: str = ""


def score_results(job: GenerationJob, results: Sequence[GeneratedImage], listener: Listener) -> Scores:
    """Score generated images of a job for its prompt.

    Args:
        job: job of the images; its request has the kind of the score.
        results: images with complete requests.
        listener: receives the events of the loading.

    Raises:
        MemoryExhaustedError: an image is too large for the memory.
        ModelUnavailableError: a model cannot be loaded.
        NonFiniteError: the model produced NaN or infinity.
    """
    request = results[0].request
    used = {name: getattr(request, name) for name in ("device", "dtype", "offload", "vae_tiling")}
    return score_images(replace(job, request=job.request.replace(**used)), [each.image for each in results], listener)


def score_images(job: GenerationJob, images: Sequence[Image.Image], listener: Listener) -> Scores:
    """Score images for the prompt of a job.

    Args:
        job: job with the prompt, the model and the kind of the score.
        images: images of any size.
        listener: receives the events of the loading, and an event before each call of a network.

    Raises:
        MemoryExhaustedError, ModelUnavailableError, NonFiniteError: see `score_results`.
    """
    kind = getattr(job.request, "score", None) or DEFAULT_SCORE
    on_call = partial(listener, Decoding())
    if kind == "clip" and job.score_model is not None:
        prompt = plain_prompt(job.request.prompt, job.request.prompt_weights)
        values = score_with_clip(job.score_model, images, prompt, device_config_of(job).device, listener, on_call)
        return Scores(values, kind, job.score_model.address)
    return Scores(score_with_model(job, images, listener, on_call), DEFAULT_SCORE)


def score_with_model(
    job: GenerationJob, images: Sequence[Image.Image], listener: Listener, on_call: OnModelCall
) -> tuple[float, ...]:
    """Score images for the prompt of a job with its diffusion model.

    Args:
        job: job with the prompt and the model.
        images: images of any size.
        listener: receives the events of the loading.
        on_call: called after each call of the UNet.

    Raises:
        MemoryExhaustedError, ModelUnavailableError, NonFiniteError: see `score_results`.
    """
    return _run(lambda: _model_scores(job, images, listener, on_call), "Add --score clip, or use --device cpu.")


def score_with_clip(
    model: ScoreModel,
    images: Sequence[Image.Image],
    prompt: str,
    device: str,
    listener: Listener,
    on_call: OnModelCall,
) -> tuple[float, ...]:
    """Score images for a plain text with a CLIP model; see `clip_scores`.

    Raises:
        MemoryExhaustedError, ModelUnavailableError, NonFiniteError: see `score_results`.
    """
    return _run(lambda: clip_scores(model, images, prompt, device, listener, on_call), "Use --device cpu.")


def _run(compute: Callable[[], list[float]], memory_hint: str) -> tuple[float, ...]:
    with ENGINE_LOCK, loaded_models.unloaded_after_error():
        try:
            values = retry_without_idle_models(compute)
        except (MemoryError, RuntimeError) as error:
            raise_if_device_lost(error)
            if not is_oom(error):
                raise
            raise MemoryExhaustedError("Cannot score the images: out of memory.", memory_hint) from None
    if not all(map(math.isfinite, values)):
        raise NonFiniteError("Cannot score the images: the model produced NaN or infinity.", "Use --dtype fp32.")
    return tuple(values)


def _model_scores(
    job: GenerationJob, images: Sequence[Image.Image], listener: Listener, on_call: OnModelCall
) -> list[float]:
    request, device_config = job.request, device_config_of(job)
    memory_settings = MemorySettings.from_request(request, 1)
    score_job = replace(job, request=request.replace(negative_prompt="", guidance_scale=_GUIDANCE_SCALE))
    encodes_first = text_encoder_offload.encodes_prompts_first(memory_settings, device_config)
    if encodes_first:
        text_encoder_offload.encode_prompts([score_job], (), device_config, listener)
    pipe = pipeline_cache.load_pipeline(
        job.model,
        device_config,
        offload=memory_settings.offload,
        vae_tiling=memory_settings.vae_tiling,
        safety_checker=request.safety_checker,
        listener=listener,
    )
    lora.set_loras(pipe, job.loras, device_config, memory_settings.offload)
    with pipeline_cache.silence_libraries():
        parts = _prompt_parts(pipe, score_job, device_config, encodes_first)
        sized = [_resize(image, scoring_size(job.model, image.size)) for image in images]
        return [model_score(pipe, image, parts, on_call) for image in sized]


def _prompt_parts(
    pipe: object, job: GenerationJob, device_config: DeviceConfig, encodes_first: bool
) -> Sequence[dict[str, torch.Tensor]]:
    """Return the embeddings of each part of the prompt (AND) at the last step, with the empty negative prompt."""
    if encodes_first:
        conditioning = text_encoder_offload.cached_embeddings([job], device_config)
    else:
        with attached_embeddings(pipe, job.embeddings):
            found = prompt_conditioning(pipe, [job])
        if found is None:
            raise TypeError("the pipeline encodes its prompts itself")
        conditioning = found
    return conditioning.at_step(job.request.steps or 1)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    rgb = image.convert("RGB")
    return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.LANCZOS)
