"""Define the image prompt of a job."""

from dataclasses import dataclass

from PIL import Image

from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.spec.image_prompt import ImagePromptSpec


@dataclass(frozen=True)
class LoadedImagePrompt:
    """Store an image prompt before its adapter is known.

    Attributes:
        spec: files and scale.
        image: the image, mode RGB.
        sha256: SHA-256 of the image file, 64 hex digits.
        mask: the mask, mode L, 255 where the image acts; None for the whole image.
        mask_sha256: SHA-256 of the mask file; empty without a mask.
        notes: changes made while loading, one sentence each.
    """

    spec: ImagePromptSpec
    image: Image.Image
    sha256: str
    mask: Image.Image | None = None
    mask_sha256: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImagePromptInput:
    """Store an image prompt with its adapter.

    Attributes:
        prompt: the image, its mask and its scale.
        adapter: the adapter with its image encoder.
    """

    prompt: LoadedImagePrompt
    adapter: ImagePromptAdapter


def active_prompts(prompts: tuple[ImagePromptInput, ...]) -> tuple[ImagePromptInput, ...]:
    """Return the image prompts that can change the image: the scale 0 disables an image prompt."""
    return tuple(each for each in prompts if each.prompt.spec.scale != 0)
