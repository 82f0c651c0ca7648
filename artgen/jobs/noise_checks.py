"""Check that the pipeline of a model supports mixed noise and mixed prompts."""

from artgen.errors import UsageError
from artgen.jobs.prompt_plan import morph_target, prompt_plan
from artgen.registry import ResolvedModel
from artgen.registry.pipelines import architectures_with, base_entry
from artgen.spec.base_requests import PromptRequest
from artgen.spec.initial_noise import initial_noise


def check_noise(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the noise of a request can be mixed.

    Raises:
        UsageError: the pipeline does not support it; `settings` contains the names of the settings.
    """
    _check_unused(request)
    if getattr(request, "invert", False) and getattr(request, "variation_strength", None):
        raise UsageError(
            "Cannot combine --invert and --variation-strength: the noise is computed from the input image.",
            "Remove --invert or --variation-strength.",
            settings=("variation_strength", "variation_seed"),
        )
    if getattr(request, "morph_position", None) and getattr(request, "hires", None) is not None:
        raise UsageError(
            "Cannot combine --morph-position and --hires: the second pass has one prompt.",
            "Remove --hires, or enlarge the result: artgen upscale IMAGE --by 2",
            settings=("hires",),
        )
    entry = model.pipeline_entry
    if initial_noise(request).is_mixed and not entry.initial_noise:
        name = "variation_strength" if getattr(request, "variation_strength", None) else "morph_seed"
        raise UsageError(
            f"Cannot use --{name.replace('_', '-')} with '{model.name}': {entry.title} pipelines do not accept mixed "
            "noise.",
            f"Remove --{name.replace('_', '-')}, or use another model.",
            settings=(name, "variation_seed"),
        )


def check_mixed_prompts(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the prompts of a complete request can be mixed.

    Raises:
        UsageError: the embeddings of the model cannot be mixed, or a prompt depends on the step.
    """
    entry, target = model.pipeline_entry, morph_target(request)
    if target is None:
        return
    if not entry.supports("prompt-embeddings"):
        families = ", ".join(base_entry(each).title for each in architectures_with("prompt-embeddings"))
        raise UsageError(
            f"Cannot mix two prompts with '{model.name}': artgen mixes the embeddings of {families} models only.",
            "Use the same prompt for both images: their noise is mixed.",
            settings=("morph_prompt", "morph_negative_prompt"),
        )
    if any(prompt_plan(each).is_dynamic for each in (request, target)):
        raise UsageError(
            "Cannot mix prompts with schedules ([from:to:when]) or AND.",
            "Remove the schedules and AND, or use --prompt-weights none.",
            settings=("morph_prompt", "morph_negative_prompt"),
        )


def _check_unused(request: PromptRequest) -> None:
    """Refuse settings that have no effect without a strength or a position."""
    needed = {"variation_seed": "variation_strength"}
    needed |= dict.fromkeys(("morph_prompt", "morph_negative_prompt", "morph_seed"), "morph_position")
    for name, other in needed.items():
        if getattr(request, name, None) not in (None, -1) and getattr(request, other, None) is None:
            option, other_option = (f"--{each.replace('_', '-')}" for each in (name, other))
            raise UsageError(
                f"{option} has no effect without {other_option}.",
                f"Add {other_option} 0.2, or remove {option}.",
                settings=(name,),
            )
