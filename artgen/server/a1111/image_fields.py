"""Decode the images of a request: base64 texts, which browsers send as `data:` addresses."""

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageOps

from artgen import images
from artgen.metadata.input_marks import find_marks
from artgen.metadata.writing import mark_save_args
from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.typed_fields import read_integer, read_list
from artgen.system.memory_file import MemoryFile

RESIZE_MODES = ("stretch", "crop", "fill", "latent")
"""Values of `resize_mode` by number. `latent` resizes the latents, which artgen does not do: it stretches."""


def decode_base64(value: Any, name: str) -> bytes:
    """Return the bytes of an image.

    Raises:
        FieldError: the value is not base64, or an address: the server does not download images.
    """
    if not isinstance(value, str) or not value.strip():
        raise FieldError(f"{name} must be an image as base64 text.", name)
    text = value.strip()
    if text.startswith(("http://", "https://", "file:")):
        raise FieldError(f"{name} must be an image as base64 text: the server does not download images.", name)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise FieldError(f"{name} must be an image as base64 text; the text is not base64.", name) from None


def init_image(body: Mapping[str, Any]) -> bytes:
    """Return the first input image.

    Raises:
        FieldError: the request has no image.
    """
    found = read_list(body, "init_images")
    if not found:
        raise FieldError("init_images must contain an image.", "init_images")
    return decode_base64(found[0], "init_images")


def resize_images(
    body: Mapping[str, Any], uploads: Mapping[str, bytes], size: tuple[int, int], max_pixels: int
) -> Mapping[str, bytes]:
    """Crop or extend the input image and its mask to the proportions of the result, as `resize_mode` selects.

    Args:
        body: fields of the request.
        uploads: `image`, and `mask` if the request has a mask.
        size: width and height of the result in pixels.
        max_pixels: limit of width times height of an image.

    Returns:
        The images, unchanged if `resize_mode` is 0 or 3, or if they have the proportions of the result.

    Raises:
        FieldError: `resize_mode` is not 0 to 3.
        InputFileError: an image cannot be decoded.
    """
    mode = RESIZE_MODES[read_integer(body, "resize_mode", 0, 0, len(RESIZE_MODES) - 1)]
    if mode not in ("crop", "fill"):
        return uploads
    return {name: _resized(name, content, mode, size, max_pixels) for name, content in uploads.items()}


def _resized(name: str, content: bytes, mode: str, size: tuple[int, int], max_pixels: int) -> bytes:
    if name not in ("image", "mask"):
        return content
    loaded = images.load_image(MemoryFile.create(name, content), max_pixels=max_pixels, background="black")
    image = loaded.image
    if image.width * size[1] == image.height * size[0]:
        return content
    if name == "mask":
        image = loaded.alpha or image.convert("L")
    resized = ImageOps.fit(image, size, Image.Resampling.LANCZOS) if mode == "crop" else _fill(image, size)
    buffer = io.BytesIO()
    mark = find_marks(MemoryFile.create(name, content)).source_type if name == "image" else ""
    resized.save(buffer, "PNG", compress_level=1, **(mark_save_args("png", mark) if mark else {}))
    return buffer.getvalue()


def _fill(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the complete image in a canvas of `size`. The rest has the colors of the edges."""
    inner = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    left, top = (size[0] - inner.width) // 2, (size[1] - inner.height) // 2
    canvas = Image.new(image.mode, size)
    if inner.width < size[0]:
        canvas.paste(inner.crop((0, 0, 1, inner.height)).resize((left + 1, size[1])), (0, 0))
        right = inner.crop((inner.width - 1, 0, inner.width, inner.height))
        canvas.paste(right.resize((size[0] - left - inner.width + 1, size[1])), (left + inner.width - 1, 0))
    else:
        canvas.paste(inner.crop((0, 0, inner.width, 1)).resize((size[0], top + 1)), (0, 0))
        bottom = inner.crop((0, inner.height - 1, inner.width, inner.height))
        canvas.paste(bottom.resize((size[0], size[1] - top - inner.height + 1)), (0, top + inner.height - 1))
    canvas.paste(inner, (left, top))
    return canvas
