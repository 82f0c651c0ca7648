"""Check that a model can encode the prompts of a request, and create notes about parts of prompts without an effect."""

from collections.abc import Iterator

from artgen.errors import UsageError
from artgen.jobs.noise_checks import check_mixed_prompts
from artgen.jobs.pipeline_options import pag_scale, uses_cfg
from artgen.jobs.prompt_plan import prompt_plan
from artgen.registry import ResolvedModel, diffusers_folder
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest
from artgen.spec.prompt_checks import excerpt
from artgen.spec.prompt_schedule import iterate_edits, parse_edits
from artgen.spec.prompt_syntax import Break
from artgen.system.counts import counted

_PLAIN_HINT = "Remove AND, or use --prompt-weights none for a prompt without syntax."


def check_prompts(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that the prompts of a complete request work with its model.

    Raises:
        UsageError: AND needs another model or guidance, or `clip_skip` or a mix of prompts is not supported.
    """
    if (request.clip_skip or 1) > 1:
        _check_clip_skip(request.clip_skip or 1, model)
    if request.prompt_weights == "a1111" and "AND" in request.prompt:
        _check_composition(request, model)
    check_mixed_prompts(request, model)


def _check_composition(request: PromptRequest, model: ResolvedModel) -> None:
    if not prompt_plan(request).is_composed:
        return
    entry = model.pipeline_entry
    if not entry.supports("prompt-syntax"):
        raise UsageError(
            f"Cannot combine prompts with AND: '{model.name}' is not Stable Diffusion 1, 2, XL or 3.", _PLAIN_HINT
        )
    if entry.guidance != "classifier-free":
        raise UsageError(
            f"Cannot combine prompts with AND: {entry.title} models do not use classifier-free guidance.", _PLAIN_HINT
        )
    if entry.image_guidance_scale:
        raise UsageError(f"Cannot combine prompts with AND: {entry.title} models do not support it.", _PLAIN_HINT)
    if not uses_cfg(request, entry):
        raise UsageError(
            f"Cannot combine prompts with AND without guidance: the guidance scale is {request.guidance_scale:g}.",
            f"Use a --guidance-scale above {entry.guidance_off:g}. {_PLAIN_HINT}",
        )
    if pag_scale(request, entry) > 0:
        raise UsageError(
            "Cannot combine prompts with AND if perturbed-attention guidance is used.",
            f"Use --pag-scale 0. {_PLAIN_HINT}",
            settings=("pag_scale",),
        )


def _check_clip_skip(clip_skip: int, model: ResolvedModel) -> None:
    entry = model.pipeline_entry
    if not entry.supports("prompt-syntax"):
        raise UsageError(
            f"Cannot use --clip-skip {clip_skip} with '{model.name}': its text encoder is not CLIP.",
            "Remove --clip-skip.",
            settings=("clip_skip",),
        )
    limit = max_clip_skip(model)
    if clip_skip > limit:
        raise UsageError(
            f"--clip-skip must be at most {limit} for '{model.name}', not {clip_skip}: its text encoder has no more "
            "layers.",
            f"Use --clip-skip {limit} or less.",
            settings=("clip_skip",),
        )


def max_clip_skip(model: ResolvedModel) -> int:
    """Return the largest `--clip-skip` of a model with CLIP text encoders: the number of layers, 1 or more."""
    index = diffusers_folder.read_model_index(model.config_folder, model.omitted)
    encoders = [
        each.component
        for each in model.pipeline_entry.encoders
        if each.kind == "clip" and any(index.get(each.component) or ())
    ]
    configs = [diffusers_folder.read_optional_config(model.config_folder / name / "config.json") for name in encoders]
    return max(1, min((int(config.get("num_hidden_layers", 12)) for config in configs), default=12))


def prompt_notes(request: PromptRequest, model: ResolvedModel) -> tuple[str, ...]:
    """Return notes about parts of the prompts of a complete request that have no effect."""
    if getattr(request, "strength", None) == 0 or request.prompt_weights != "a1111":
        return ()
    if not model.pipeline_entry.supports("prompt-syntax"):
        return ()
    texts = [request.prompt]
    if uses_cfg(request, model.pipeline_entry):
        texts.append(request.negative_prompt)
    notes = [note for text in texts if "[" in text for note in _schedule_notes(text, request)]
    if request.long_prompt != "chunk" and any("BREAK" in text and _has_break(text) for text in texts):
        notes.append(f"BREAK has no effect with --long-prompt {request.long_prompt}.")
    return tuple(dict.fromkeys(notes))


def _has_break(text: str) -> bool:
    return any(isinstance(part, Break) for part in prompt_syntax.parse_weights(text, "a1111"))


def _schedule_notes(text: str, request: PromptRequest) -> Iterator[str]:
    """Yield a note for each schedule and alternation with a text that no step uses."""
    steps = request.steps or 1
    strength = getattr(request, "strength", None)
    executed = steps if strength is None else min(int(steps * strength), steps)
    run = f"only {counted(executed, 'step runs', 'steps run')}"
    for edit in iterate_edits(parse_edits(text)):
        if edit.when is None:
            if len(edit.options) > executed:
                yield f"Not all texts of '{excerpt(edit.source)}' are used: {run}."
        elif (last := edit.last_steps(steps)[0]) < 1:
            yield f"The first text of '{excerpt(edit.source)}' is not used: it ends before step 1."
        elif last >= executed:
            yield f"'{excerpt(edit.source)}' does not change: its first text ends at step {last}, and {run}."
