"""Load the image prompts of a request, and resolve and check their adapters."""

from artgen.jobs.image_prompts.image_prompt_input import ImagePromptInput

__all__ = ["ImagePromptInput"]
