"""Build jobs in stages: describe the result, fill in the defaults, and create the job."""

from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from artgen import registry
from artgen.jobs import checks, denoise, sample
from artgen.jobs import notes as notes_of
from artgen.jobs.control import ControlInput
from artgen.jobs.control.images import fit_to_size
from artgen.jobs.control.nets import recorded_text
from artgen.jobs.default_settings import default_settings
from artgen.jobs.edit_checks import check_image_sizes
from artgen.jobs.hires import hires_size
from artgen.jobs.image_prompts import ImagePromptInput
from artgen.jobs.inputs import InputImages
from artgen.jobs.job import DenoiseJob, GenerationJob, Job, SampleJob
from artgen.jobs.model_entries import ModelEntry
from artgen.jobs.output_filters import NO_FILTERS, JobFilters
from artgen.jobs.size import pipeline_size
from artgen.jobs.text_mask_input import TextMaskInput
from artgen.jobs.upscaling.build import upscale_job
from artgen.registry import lora as lora_files
from artgen.registry.embeddings import EmbeddingRequest
from artgen.registry.score_models import ScoreModel
from artgen.registry.upscalers import Upscaler
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.requests import TASKS, Sample
from artgen.spec.restoration_requests import Denoise, Upscale


@dataclass(frozen=True)
class JobDraft:
    """Represent a job between two stages.

    Attributes:
        request: request; complete after the stage `fill_defaults`.
        inputs: prepared input images.
        loras: LoRAs, in the order of the request.
        embeddings: embeddings, in the order of the request.
        entry: resolved model.
        extras: parts of the approximations.
        size: width and height of the result in pixels.
        provenance: values for the record.
        notes: notes for the user.
        control_images: control images in the size of the result.
        text_mask: what the computation of the mask needs; None if it is known, or if nothing is masked.
        score_model: CLIP model that scores the images; None without one.
        upscale: request of the enlarged image, if `request` is the request of its tiles; else None.
        upscaler: upscaling network.
        filters: output filters.
    """

    request: Request
    inputs: InputImages = field(default_factory=InputImages)
    loras: tuple[lora_files.LoraRequest, ...] = ()
    embeddings: tuple[EmbeddingRequest, ...] = ()
    entry: ModelEntry = field(default_factory=lambda: ModelEntry(None))
    extras: dict[str, registry.HubFiles] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    control_images: tuple[Image.Image, ...] = ()
    text_mask: TextMaskInput | None = None
    score_model: ScoreModel | None = None
    upscale: Upscale | None = None
    upscaler: Upscaler | None = None
    filters: JobFilters = NO_FILTERS


def describe_result(draft: JobDraft) -> JobDraft:
    """Fill in size, provenance and notes."""
    request, model, inputs = draft.request, draft.entry.model, draft.inputs
    size, notes = inputs.image.size if inputs.image else inputs.result_size or (0, 0), inputs.notes
    if model is not None and TASKS[request.task].pipeline_kind:
        if inputs.image is None:
            size = _first_size(request, model)
        model_size = pipeline_size(request, model, size)
        size = hires_size(request, model, size)
        checks.check_position_limit(max(model_size, size), model)
        if isinstance(request, PromptRequest):
            check_image_sizes(request, model, model_size, [each.size for each in inputs.references])
        if not getattr(request, "panorama", False):
            notes = (*notes, *notes_of.size_warnings(model_size, model))
    if model is not None and model.remote is not None:
        notes = (*notes, model.download_note())
    if isinstance(request, Sample) and model is not None:
        size = sample.image_size(model)
    control_images, more_notes = fit_to_size(inputs.controls, inputs.result_size or size)
    notes = (*notes, *more_notes, *(net.download_note() for net in draft.entry.nets if net.download_bytes))
    notes += tuple({each.download_note(): 0 for each in draft.entry.adapters if each.download_bytes})
    notes += tuple(note for each in inputs.image_prompts for note in each.notes)
    notes += draft.entry.upscaler.download_notes() if draft.entry.upscaler else ()
    first = size if getattr(request, "hires", None) is None or model is None else _first_size(request, model)
    provenance = {"width": first[0], "height": first[1], **inputs.provenance, **draft.entry.provenance}
    models = dict.fromkeys(each for group in draft.entry.preprocessors for each in group)
    notes = (*notes, *(each.download_note for each in models if each.folder is None))
    if inputs.controls:
        pairs = zip(inputs.controls, draft.entry.nets, strict=True)
        provenance["control"] = [recorded_text(control.spec, net) for control, net in pairs]
    return replace(draft, size=size, provenance=provenance, notes=notes, control_images=control_images)


def _first_size(request: Request, model: registry.ResolvedModel) -> tuple[int, int]:
    """Return the width and height of txt2img in pixels, before hires fix."""
    return checks.txt2img_size(getattr(request, "width", None), getattr(request, "height", None), model)


def fill_request(draft: JobDraft) -> Request:
    """Return the request with all defaults filled in."""
    request, model = draft.request, draft.entry.model
    if isinstance(request, Denoise):
        request = denoise.fill_defaults(request, model)
        return request if model is None else request.replace(model=draft.entry.name)
    if isinstance(request, Sample) and model is not None:
        return sample.fill_defaults(request, model, draft.entry.scheduler_config).replace(model=draft.entry.name)
    if isinstance(request, PromptRequest) and model is not None:
        is_enlarged = getattr(request, "hires", None) is not None
        settings = default_settings(request, model, draft.entry.scheduler, draft.inputs.resolved, draft.size)
        if is_enlarged:
            settings["width"], settings["height"] = _first_size(request, model)
        return request.replace(
            **settings,
            model=draft.entry.name,
            **draft.entry.settings,
        )
    return request


def build_job(draft: JobDraft) -> Job:
    """Return the job of a complete draft.

    Raises:
        TypeError: the request belongs to no known task.
    """
    if isinstance(draft.request, Upscale):
        return upscale_job(draft, None)
    job = _build_pipeline_or_denoise_job(draft)
    if draft.upscale is not None and isinstance(job, GenerationJob):
        return upscale_job(draft, job)
    return job


def _build_pipeline_or_denoise_job(draft: JobDraft) -> Job:
    request, model, inputs = draft.request, draft.entry.model, draft.inputs
    shared: dict[str, Any] = {
        "size": draft.size, "provenance": draft.provenance, "notes": draft.notes, "loras": draft.loras,
        "filters": draft.filters,
    }  # fmt: skip
    if isinstance(request, Denoise) and inputs.image is not None:
        return DenoiseJob(request=request, image=inputs.image, low_bytes=inputs.low_bytes, model=model, **shared)
    if isinstance(request, Sample) and model is not None:
        found = sample.find_class(request, model)
        if found is not None and found.name:
            shared["provenance"] = {**draft.provenance, "class_name": found.name}
        return SampleJob(request=request, model=model, class_number=found and found.number, **shared)
    if isinstance(request, PromptRequest) and model is not None:
        return GenerationJob(
            request=request,
            model=model,
            image=inputs.image,
            source=inputs.source,
            references=inputs.references,
            mask=inputs.mask,
            strength_map=inputs.strength_map,
            text_mask=draft.text_mask,
            score_model=draft.score_model,
            extras=draft.extras,
            embeddings=draft.embeddings,
            controls=_control_inputs(draft),
            image_prompts=tuple(map(ImagePromptInput, inputs.image_prompts, draft.entry.adapters)),
            upscaler=draft.entry.upscaler,
            **shared,
        )
    raise TypeError(f"{type(request).__name__} is not a request of a known task")


def _control_inputs(draft: JobDraft) -> tuple[ControlInput, ...]:
    entry = draft.entry
    parts = zip(draft.inputs.controls, draft.control_images, entry.nets, entry.preprocessors, strict=True)
    found = tuple(ControlInput(control.spec, image, net, models) for control, image, net, models in parts)
    if getattr(draft.request, "hires", None) is None or entry.model is None:
        return found
    first_images, _ = fit_to_size(draft.inputs.controls, _first_size(draft.request, entry.model))
    pairs = zip(found, first_images, strict=True)
    return tuple(replace(each, first_pass=replace(each, image=image)) for each, image in pairs)
