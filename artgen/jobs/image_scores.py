"""Check that a model can score images for a prompt."""

from artgen.errors import UsageError
from artgen.registry import ResolvedModel
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest
from artgen.spec.best_of import DEFAULT_SCORE, num_candidates
from artgen.spec.fast import parse_presets

_HINT = "Add --score clip."


def check_scores(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the model of a request can score its images for its prompt.

    Raises:
        UsageError: the model has no prediction without a prompt, or it is not Stable Diffusion 1, 2 or XL.
    """
    if num_candidates(request) == 1 or (getattr(request, "score", None) or DEFAULT_SCORE) != DEFAULT_SCORE:
        return
    if reason := _obstacle(request, model):
        raise UsageError(
            f"Cannot score images with '{model.name}': {reason}.", _HINT, settings=("best_of", "score", "model")
        )


def check_scored_prompt(request: PromptRequest) -> None:
    """Check that a request whose images are scored has a prompt.

    Raises:
        UsageError: the prompt is empty.
    """
    if num_candidates(request) > 1 and not request.prompt.strip():
        raise UsageError(
            "Cannot use best_of without a prompt: the score compares the image with the prompt.",
            'Add a prompt, or remove --best-of: artgen txt2img "a red fox" --best-of 8',
            settings=("best_of",),
        )


def plain_prompt(prompt: str, prompt_weights: str | None) -> str:
    """Return the text of a prompt that CLIP scores: without weights and schedules."""
    return " ".join(prompt_syntax.plain_text(prompt, prompt_weights or "none").split())


def _obstacle(request: PromptRequest, model: ResolvedModel) -> str:
    """Return why a model cannot score images; empty if it can."""
    entry = model.pipeline_entry
    if not entry.supports("latent-denoise"):
        return f"{entry.title} is not supported, only Stable Diffusion 1, 2 and XL"
    if entry.guidance != "classifier-free" or model.guidance_scale <= 1:
        return "it is distilled and has no prediction without a prompt"
    if model.is_inpainting:
        return "it is an inpainting model"
    if any(each.name == "lcm" for each in parse_presets(request.fast)):
        return "with --fast lcm, it has no prediction without a prompt"
    return ""
