"""Convert the form of `/v1/images/edits` to a job: inpaint with a mask, else img2img; edit for an editing model.

OpenAI's masks are PNG files whose transparent pixels are repainted. artgen repaints white pixels.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import images
from artgen.errors import ArtgenError, InputFileError
from artgen.server.openai.errors import FieldError
from artgen.server.openai.fields import ImagesRequest, check_fields, read_line, read_output
from artgen.system.memory_file import MemoryFile

MAX_INPUT_IMAGES = 16
"""Largest number of input images of OpenAI's API."""


@dataclass(frozen=True)
class EditForm:
    """Store the parts of a form.

    Attributes:
        fields: text fields by name.
        images: files of the fields `image` and `image[]`, in order.
        mask: file of the field `mask`; None without a mask.
    """

    fields: Mapping[str, Any]
    images: Sequence[bytes]
    mask: bytes | None = None


def read_edit(form: EditForm, *, is_editor: bool, max_pixels: int) -> ImagesRequest:
    """Convert a form.

    Args:
        form: parts of the form.
        is_editor: the model is an editing model, which follows instructions and takes several images.
        max_pixels: limit of width times height of an image.

    Raises:
        FieldError: a field is not valid or not supported, or an image is missing.
        InputFileError: an image cannot be decoded.
    """
    check_fields(form.fields, ("strength",))
    line = read_line(form.fields)
    output = read_output(form.fields)
    if not form.images:
        raise FieldError("Missing required parameter: 'image'.", "image", "missing_required_parameter")
    if len(form.images) > (MAX_INPUT_IMAGES if is_editor else 1):
        limit = f"at most {MAX_INPUT_IMAGES} images" if is_editor else "one image: the model takes no reference images"
        raise FieldError(f"image must be {limit}, not {len(form.images)}.", "image")
    uploads = {"image": form.images[0]}
    mask = _mask(form, max_pixels)
    if mask is not None:
        uploads["mask"] = mask
        line["mask"] = "upload:mask"
    if is_editor:
        line["task"] = "edit"
        for number, content in enumerate(form.images[1:], 1):
            uploads[f"reference{number}"] = content
        references = [f"upload:{name}" for name in uploads if name.startswith("reference")]
        line |= {"reference": references} if references else {}
    else:
        line["task"] = "img2img" if mask is None else "inpaint"
        line |= {"strength": _strength(form.fields)} if form.fields.get("strength") else {}
    return ImagesRequest({**line, "image": "upload:image"}, uploads, **output)


def _strength(fields: Mapping[str, Any]) -> float:
    try:
        return float(fields["strength"])
    except ValueError:
        raise FieldError("strength must be a number from 0 to 1.", "strength", "invalid_type") from None


def _mask(form: EditForm, max_pixels: int) -> bytes | None:
    """Return the mask as a PNG file whose white pixels are repainted; None without a mask."""
    if form.mask is None:
        return None
    size = _load(form.images[0], "image", max_pixels).image.size
    mask = _load(form.mask, "mask", max_pixels)
    if mask.image.size != size:
        raise FieldError(
            f"mask must have the size of the image, {size[0]}x{size[1]}, not {mask.image.width}x{mask.image.height}.",
            "mask",
        )
    if mask.alpha is None:
        raise FieldError("mask must have transparent pixels: transparent pixels are edited.", "mask")
    return _encode_mask(mask.alpha)


def _load(content: bytes, name: str, max_pixels: int) -> images.LoadedImage:
    try:
        return images.load_image(MemoryFile.create(name, content), max_pixels=max_pixels)
    except ArtgenError as error:
        raise InputFileError(error.message, error.hint, settings=(name,)) from error


def _encode_mask(alpha: Image.Image) -> bytes:
    """Return a mask whose white pixels are the completely transparent pixels."""
    mask = alpha.point([255] + [0] * 255)
    if mask.getextrema()[1] == 0:
        raise FieldError("mask must have transparent pixels: transparent pixels are edited.", "mask")
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()
