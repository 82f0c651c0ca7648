"""Expand the prompts of a request: wildcards, variants, styles, LoRA tags and names of embeddings."""

from artgen.events import Listener, no_op
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
    del listener
    if not isinstance(request, PromptRequest) or request.expansion is not None:
        return request
    return request.replace(expansion=PromptExpansion())
