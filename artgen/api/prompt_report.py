"""Explain how a prompt is read, for the command and the function."""

from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.events import Listener
from artgen.spec.requests import Txt2Img

if TYPE_CHECKING:
    from artgen.jobs.prompt_explanation import PromptReport
    from artgen.registry import ResolvedModel


def report_prompt(request: Txt2Img, listener: Listener) -> "PromptReport":
    """Return how the prompts of a request are read, without loading or downloading a model.

    Raises:
        UsageError, InputFileError, RefusedError: the prompt is missing, or the request cannot be generated.
    """
    if not request.prompt.strip() and not request.style:
        raise UsageError("Cannot explain a prompt: the prompt is missing.", 'artgen prompt "a (red:1.3) fox"')
    from artgen.jobs.prompt_explanation import explain_prompts

    return explain_prompts(request, listener, _count_tokens)


def _count_tokens(model: "ResolvedModel", text: str) -> dict[str, tuple[int, int]]:
    """Count the tokens for T5 or a language model with the tokenizer of transformers, whose import takes a second."""
    from artgen.engine.sampling.prompts import tokenizer_for

    found = tokenizer_for(model)
    if found is None or found.kind == "clip":
        return {}
    ids = found.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return {found.kind: (len(ids), found.max_tokens)}
