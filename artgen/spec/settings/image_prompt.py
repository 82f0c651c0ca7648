"""Declare the settings of image prompts."""

from dataclasses import dataclass

from artgen.spec.fields import option


@dataclass(frozen=True, kw_only=True)
class ImagePromptSettings:
    """Store the image prompts of a request."""

    image_prompt: tuple[str, ...] = option(
        (),
        "Image prompt: the result takes the content and the style of this image (IP-Adapter, Flux Redux). SCALE: "
        "strength, 0 to 10; 1 if omitted. Keys: mask: the image acts only where this mask is white. model: adapter, "
        "a .safetensors file or one of sd15, sd15-light, sd15-plus, sd15-plus-face, sd15-full-face, sdxl, "
        "sdxl-vit-g, sdxl-plus, sdxl-plus-face, flux-redux; sd15, sdxl or flux-redux if omitted. Example: "
        "photo.png:0.6,mask=left.png. Can be repeated.",
        brief="Image prompt: take content and style from an image, for example photo.png:0.6.",
        metavar="FILE[:SCALE][,KEY=VALUE]",
        aliases=("--ip-adapter", "--reference-image"),
        is_path=True,
        values="files",
        per_call=True,
        affects=("pixels", "memory", "input"),
    )
