"""Fill in the settings that a request with a prompt does not set."""

from collections.abc import Mapping
from typing import Any

from artgen import registry
from artgen.jobs import checks, pipeline_options
from artgen.jobs.hires import DEFAULT_HIRES_SPACE
from artgen.jobs.size import pipeline_size
from artgen.spec.base_requests import PromptRequest
from artgen.spec.best_of import DEFAULT_SCORE, num_candidates
from artgen.spec.fast import parse_presets
from artgen.spec.requests import TASKS
from artgen.spec.schedulers import find_scheduler_with_sigmas, identify_scheduler
from artgen.spec.seeds import generate_seed
from artgen.spec.settings import options_of


def default_settings(
    request: PromptRequest,
    model: registry.ResolvedModel,
    scheduler_and_sigmas: tuple[str | None, str | None],
    resolved: Mapping[str, Any],
    size: tuple[int, int],
) -> dict[str, Any]:
    """Return the values of the unset settings of a request with a prompt.

    Args:
        request: request with unset settings.
        model: resolved model.
        scheduler_and_sigmas: default scheduler of the model; see `model_scheduler`.
        resolved: values of unset settings that depend on the input images.
        size: width and height of the result in pixels.
    """
    defaults: dict[str, Any] = {
        "steps": model.steps,
        "guidance_scale": model.guidance_scale,
        "vae_tiling": checks.needs_vae_tiling(pipeline_size(request, model, size))
        and getattr(request, "seamless", None) is None
        and pipeline_options.supports_vae_tiling(model),
        "prompt_weights": "a1111",
        "long_prompt": "chunk" if model.pipeline_entry.supports("long-prompts") else "truncate",
        "strength": TASKS[request.task].default_strength,
        "score": DEFAULT_SCORE if num_candidates(request) > 1 else None,
        "image_guidance_scale": model.pipeline_entry.image_guidance_scale or None,
        **resolved,
    }
    if getattr(request, "hires", None) is not None and getattr(request, "hires_model", None) is None:
        defaults["hires_in"] = DEFAULT_HIRES_SPACE
    inverts = getattr(request, "invert", False)
    if request.task in model.pipeline_entry.no_strength or inverts:
        del defaults["strength"]
    if request.seed is None:
        defaults["seed"] = generate_seed()
    scheduler, sigmas = ("ddim", None) if inverts else scheduler_and_sigmas
    for entry in parse_presets(request.fast):
        defaults.update(entry.default_settings)
        if "scheduler" in entry.default_settings:
            scheduler, sigmas = entry.default_settings["scheduler"], None
    known = options_of(type(request))
    filled = {name: value for name, value in defaults.items() if name in known and getattr(request, name) is None}
    if getattr(request, "variation_strength", None) and getattr(request, "variation_seed", None) in (None, -1):
        filled["variation_seed"] = generate_seed()
    filled.pop("scheduler", None)
    if request.scheduler is None and scheduler is not None:
        filled.update(scheduler=scheduler, sigmas=request.sigmas or sigmas)
    if "width" in known:
        filled["width"], filled["height"] = size
    return filled


def model_scheduler(model: registry.ResolvedModel, config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the name and the sigmas of a model's default scheduler; None for unknown values."""
    if model.scheduler is not None:
        entry, sigmas = find_scheduler_with_sigmas(model.scheduler)
        return entry.name, model.sigmas or sigmas
    return identify_scheduler(config)
