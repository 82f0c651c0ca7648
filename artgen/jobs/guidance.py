"""Check that the pipeline of a model takes the guidance settings: `guidance_rescale`, `pag_scale` and `guide`."""

from collections.abc import Callable, Mapping
from typing import Any

from artgen.errors import UsageError
from artgen.jobs.pipeline_options import uses_cfg
from artgen.registry import ResolvedModel, diffusers_folder
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.pipelines import pipeline_entries
from artgen.spec.base_requests import PromptRequest

_CROSS_ATTENTION_MID_BLOCK = "UNetMidBlock2DCrossAttn"


def pag_layers(denoiser_config: Mapping[str, Any]) -> str | None:
    """Return the layers for perturbed-attention guidance, as in `set_pag_applied_layers` of diffusers.

    The default of diffusers is the middle block of a UNet or the second block of a transformer. A denoiser without it
    uses the deepest block with self-attention. The result is None for the default, and empty if no block fits.
    """
    if "num_layers" in denoiser_config:
        return None if denoiser_config["num_layers"] != 1 else "blocks.0"
    if denoiser_config.get("mid_block_type", _CROSS_ATTENTION_MID_BLOCK) == _CROSS_ATTENTION_MID_BLOCK:
        return None
    blocks = denoiser_config.get("down_block_types") or ()
    return next((f"down_blocks.{i}" for i in reversed(range(len(blocks))) if "CrossAttn" in str(blocks[i])), "")


def check_guidance(request: PromptRequest, model: ResolvedModel) -> None:
    """Check the guidance settings of a complete request.

    Raises:
        UsageError: the pipeline does not take a setting, or the setting has no effect; `settings` contains its name.
    """
    if request.pag_scale:
        _check_pag(request, model)
    if request.guidance_rescale:
        _check_rescale(request, model)
    if request.guide not in (None, "cfg"):
        _check_guide(request, model)


def _check_pag(request: PromptRequest, model: ResolvedModel) -> None:
    entry = model.pipeline_entry
    if request.task not in entry.pag:
        raise _unsupported_error("pag_scale", request, model, lambda each: request.task in each.pag)
    config = diffusers_folder.read_optional_config(model.config_folder / entry.denoiser / "config.json")
    if pag_layers(config) == "":
        raise UsageError(
            f"Cannot use --pag-scale with '{model.name}': its denoiser has no block with self-attention.",
            "Remove --pag-scale.",
            settings=("pag_scale",),
        )


def _check_rescale(request: PromptRequest, model: ResolvedModel) -> None:
    entry = model.pipeline_entry
    if request.task not in entry.guidance_rescale:
        raise _unsupported_error("guidance_rescale", request, model, lambda each: request.task in each.guidance_rescale)
    _check_guidance_is_on("guidance_rescale", request, model)


def _check_guide(request: PromptRequest, model: ResolvedModel) -> None:
    entry = model.pipeline_entry
    _check_guidance_is_on("guide", request, model)
    if not entry.cfg_inputs or request.task in entry.no_guide:
        raise _unsupported_error(
            "guide", request, model, lambda each: bool(each.cfg_inputs) and request.task not in each.no_guide
        )
    if request.guide == "zero-star":
        _check_zero_star(request, model)


def _check_zero_star(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the model predicts a velocity, and that steps remain after the first one, whose velocity is zero."""
    if not model.is_flow_matching:
        raise UsageError(
            f"Cannot use --guide zero-star with '{model.name}': CFG-Zero* works with flow-matching models.",
            "Use --guide apg, or remove --guide.",
            settings=("guide",),
        )
    if request.steps == 1:
        raise UsageError(
            "Cannot use --guide zero-star with 1 step: its first step does not change the noise.",
            "Use --steps 2 or more, or remove --guide.",
            settings=("guide",),
        )


def _check_guidance_is_on(setting: str, request: PromptRequest, model: ResolvedModel) -> None:
    entry, option = model.pipeline_entry, _option(setting)
    if uses_cfg(request, entry):
        return
    if entry.guidance == "classifier-free":
        raise UsageError(
            f"{option} has no effect without guidance; the guidance scale is {request.guidance_scale:g}.",
            f"Remove {option}, or use a --guidance-scale above {entry.guidance_off:g}.",
            settings=(setting,),
        )
    raise UsageError(
        f"{option} has no effect with '{model.name}': {entry.title} models do not use classifier-free guidance"
        + (" without a negative prompt." if "true-cfg" in (entry.guidance, entry.negative_prompt) else "."),
        f"Remove {option}.",
        settings=(setting,),
    )


def _unsupported_error(
    setting: str, request: PromptRequest, model: ResolvedModel, is_supported: Callable[[PipelineEntry], bool]
) -> UsageError:
    """Return the error for a setting that the pipeline of the task does not take, with the families that take it."""
    entry, option = model.pipeline_entry, _option(setting)
    families: dict[str, str] = {}
    for each in pipeline_entries().values():
        if request.task in each.tasks and not each.when and is_supported(each):
            families.setdefault(each.architecture, each.title)
    supported = ", ".join(families.values()) or "no family"
    return UsageError(
        f"Cannot use {option} with '{model.name}': {request.task} of {entry.title} models does not support it.",
        f"Remove {option}. Families whose {request.task} supports it: {supported}.",
        settings=(setting,),
    )


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"
