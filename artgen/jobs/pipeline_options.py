"""Check that the pipeline of a model takes the options of a request, with the table of pipelines.

An option without an effect is refused. The errors name their setting, so that the callers refuse only values from the
command line or from a line of a prompt file, and ignore a default of the user with a note (`ArtgenError.settings`).
"""

from typing import Any

from artgen.errors import UsageError
from artgen.jobs.edit_checks import check_editing
from artgen.jobs.noise_checks import check_noise
from artgen.jobs.prompt_plan import prompt_plan
from artgen.registry import ResolvedModel, diffusers_folder
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.pipelines import pipeline_entries
from artgen.spec.base_requests import PromptRequest
from artgen.spec.requests import Sample

VAES_WITHOUT_TILING = ("AsymmetricAutoencoderKL", "VQModel")
"""Classes of diffusers whose `enable_tiling` raises an error."""


def uses_cfg(request: PromptRequest | Sample, entry: PipelineEntry) -> bool:
    """Return whether the pipeline uses classifier-free guidance, which doubles the batch size of the denoiser."""
    if entry.negative_prompt == "true-cfg":
        return bool(getattr(request, "negative_prompt", ""))
    scale = request.guidance_scale or 0.0
    return entry.guidance in ("classifier-free", "true-cfg") and scale > entry.guidance_off


def pag_scale(request: PromptRequest | Sample, entry: PipelineEntry) -> float:
    """Return the scale of perturbed-attention guidance (PAG); 0 disables it."""
    scale = getattr(request, "pag_scale", None)
    return entry.default_pag_scale if scale is None else float(scale)


def changes_guidance(request: PromptRequest, entry: PipelineEntry) -> bool:
    """Return whether PAG or another method than classifier-free guidance modifies the denoiser during the call."""
    return request.guide not in (None, "cfg") or pag_scale(request, entry) > 0


def denoiser_inputs(request: PromptRequest | Sample, entry: PipelineEntry) -> int:
    """Return the number of denoiser inputs per image and step: one for each part of the prompt (AND), CFG and PAG."""
    num_parts = 1
    if isinstance(request, PromptRequest) and entry.supports("prompt-syntax"):
        num_parts = len(prompt_plan(request).weights)
    num_guided = 2 if entry.image_guidance_scale else 1
    return num_parts + num_guided * uses_cfg(request, entry) + (pag_scale(request, entry) > 0)


def supports_vae_tiling(model: ResolvedModel) -> bool:
    """Return whether the VAE of a model can decode an image in tiles."""
    vae = diffusers_folder.read_model_index(model.config_folder).get("vae")
    return model.pipeline_entry.vae == "vae" and isinstance(vae, list) and vae[-1] not in VAES_WITHOUT_TILING


def with_true_cfg(provenance: dict[str, Any], request: PromptRequest, model: ResolvedModel) -> dict[str, Any]:
    """Return the provenance with the scale of true CFG, if the negative prompt enables it."""
    if not request.negative_prompt or model.pipeline_entry.negative_prompt != "true-cfg":
        return provenance
    return {**provenance, "true_cfg_scale": model.pipeline_entry.true_cfg_scale}


def check_options(
    request: PromptRequest, model: ResolvedModel, default_scheduler: tuple[str | None, str | None] = (None, None)
) -> None:
    """Check that the pipeline takes each option that is set. Options with the default value of the model are accepted.

    Args:
        request: request, with or without the defaults of the model.
        model: resolved model.
        default_scheduler: name and sigmas of the model's scheduler, see `default_settings.model_scheduler`.

    Raises:
        UsageError: the pipeline does not take an option; `settings` contains its name.
    """
    entry = model.pipeline_entry
    _check_guidance_scale(request, entry, model)
    check_negative_prompt(request.negative_prompt, model)
    if getattr(request, "strength", None) is not None and request.task in entry.no_strength:
        raise UsageError(
            f"Cannot use --strength with '{model.name}': {request.task} of {entry.title} models has no strength.",
            "Remove --strength.",
            settings=("strength",),
        )
    check_edit_options(request, model)
    if request.vae_tiling and not supports_vae_tiling(model):
        raise _unsupported_error("--vae-tiling", "vae_tiling", entry, model.name)
    if request.quantize and model.has_quantized_denoiser:
        raise UsageError(
            f"Cannot use --quantize with '{model.name}': its weights are quantized already.",
            "Remove --quantize.",
            settings=("quantize",),
        )
    if request.quantize and not entry.supports("quantize"):
        raise _unsupported_error("--quantize", "quantize", entry, model.name)
    if request.long_prompt == "chunk" and not entry.supports("long-prompts"):
        raise _unsupported_error("--long-prompt chunk", "long_prompt", entry, model.name)
    check_editing(request, model, has_pag=pag_scale(request, entry) > 0)
    check_noise(request, model)
    if not entry.supports("schedulers"):
        _check_scheduler(request, model, default_scheduler)


def check_edit_options(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the pipeline takes the settings of edits.

    Raises:
        UsageError: the pipeline does not take one of them, or it has no effect.
    """
    entry = model.pipeline_entry
    scale, references = getattr(request, "image_guidance_scale", None), getattr(request, "reference", ())
    if scale is not None and not entry.image_guidance_scale:
        raise UsageError(
            f"Cannot use --image-guidance-scale with '{model.name}': edit of {entry.title} models does not take it.",
            "Remove --image-guidance-scale. Only InstructPix2Pix models take it.",
            settings=("image_guidance_scale",),
        )
    guidance = model.guidance_scale if request.guidance_scale is None else request.guidance_scale
    if scale not in (None, entry.image_guidance_scale) and guidance <= entry.guidance_off:
        raise UsageError(
            f"--image-guidance-scale has no effect without guidance; the guidance scale is {guidance:g}.",
            f"Remove --image-guidance-scale, or use a --guidance-scale above {entry.guidance_off:g}.",
            settings=("image_guidance_scale",),
        )
    if references and not entry.references:
        families = ", ".join(each.title for each in pipeline_entries().values() if each.references and not each.when)
        raise UsageError(
            f"Cannot use --reference with '{model.name}': edit of {entry.title} models takes one image.",
            f"Remove --reference. Families that take several images: {families}.",
            settings=("reference",),
        )


def check_negative_prompt(negative_prompt: str, model: ResolvedModel) -> None:
    """Check that a negative prompt can have an effect.

    Raises:
        UsageError: the pipeline takes no negative prompt.
    """
    entry = model.pipeline_entry
    if not negative_prompt or entry.negative_prompt != "none":
        return
    reasons = {
        "none": f"{entry.title} models are distilled and have no guidance",
        "embedded": f"the guidance of {entry.title} models is an input of the denoiser and does not use a negative "
        "prompt",
    }
    reason = reasons.get(entry.guidance, f"the pipeline of {entry.title} models takes none")
    raise UsageError(
        f"Cannot use a negative prompt with '{model.name}': {reason}.",
        "Remove --negative-prompt.",
        settings=("negative_prompt",),
    )


def _check_guidance_scale(request: PromptRequest, entry: PipelineEntry, model: ResolvedModel) -> None:
    scale, model_name = request.guidance_scale, model.name
    if scale is None:
        return
    if entry.guidance == "none" and scale > 1:
        raise UsageError(
            f"Cannot use --guidance-scale {scale:g} with '{model_name}': {entry.title} models are distilled and have "
            "no guidance.",
            "Remove --guidance-scale.",
            settings=("guidance_scale",),
        )
    if scale < entry.guidance_min and scale != model.guidance_scale:
        raise UsageError(
            f"Cannot use --guidance-scale {scale:g} with '{model_name}': {entry.title} models need a guidance scale of "
            f"{entry.guidance_min:g} or more.",
            f"Use --guidance-scale {entry.guidance_min:g} or more.",
            settings=("guidance_scale",),
        )


def _check_scheduler(
    request: PromptRequest, model: ResolvedModel, default_scheduler: tuple[str | None, str | None]
) -> None:
    """Check that the request does not replace the scheduler of a model that supports only its own."""
    name, sigmas = default_scheduler
    if request.scheduler not in (None, name):
        raise UsageError(
            f"Cannot use --scheduler {request.scheduler} with '{model.name}': {model.pipeline_entry.title} models "
            "support only their own scheduler.",
            "Remove --scheduler.",
            settings=("scheduler", "sigmas"),
        )
    if request.sigmas not in (None, sigmas):
        raise _unsupported_error("--sigmas", "sigmas", model.pipeline_entry, model.name)


def _unsupported_error(option: str, setting: str, entry: PipelineEntry, model_name: str) -> UsageError:
    return UsageError(
        f"Cannot use {option} with '{model_name}': {entry.title} models do not support it.",
        f"Remove {option}.",
        settings=(setting,),
    )
