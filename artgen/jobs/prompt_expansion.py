"""Expand the prompts of a request: wildcards, variants, styles, LoRA tags and names of embeddings."""

from artgen.events import Listener, no_op
from artgen.jobs.prompt_tags import apply_lora_tags
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion


def expand_prompts(request: Request, listener: Listener = no_op) -> Request:
    """Return the request with final prompts, with the LoRAs and embeddings that its prompts name.

    Wildcards and variants are replaced first, because their texts can contain styles and tags. The choices depend on
    the seed of the request. A request that has an expansion is returned unchanged.

    Args:
        request: request with a seed, if its prompts contain wildcards or variants.
        listener: receives notes.

    Raises:
        UsageError: the syntax is invalid, or a wildcard, style, LoRA or embedding is unknown.
        InputFileError: a file of wildcards or styles is invalid.
    """
    if not isinstance(request, PromptRequest) or request.expansion is not None:
        return request
    template, negative_template = request.prompt, request.negative_prompt
    request = apply_lora_tags(request, listener)
    return request.replace(
        expansion=PromptExpansion(
            template if template != request.prompt else "",
            negative_template if negative_template != request.negative_prompt else "",
        )
    )
