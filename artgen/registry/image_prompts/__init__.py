"""Find the adapters and the image encoders of image prompts: IP-Adapter (Ye et al. 2023, arXiv 2308.06721)."""

from artgen.registry.image_prompts.adapter import ImagePromptAdapter
from artgen.registry.image_prompts.find import AdapterSearch, resolve_adapter
from artgen.registry.image_prompts.recorded import find_recorded_adapter

__all__ = ["AdapterSearch", "ImagePromptAdapter", "find_recorded_adapter", "resolve_adapter"]
