"""The pictures that a request starts from: read, resized, masked and extended."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import images
from artgen.spec.requests import Denoise, ImageRequest, Inpaint, Outpaint, PromptedImageRequest, Request
from artgen.spec.settings import CanvasSettings, settings_of


@dataclass(frozen=True)
class InputImages:
    """What a task starts from.

    Attributes:
        image: RGB, at the size of the result; None for a task that starts from nothing. For denoise: L, LA, RGB or
            RGBA, as the file has it.
        low_bytes: the lower bytes of a picture with 16 bits a channel, in the same mode; None for 8 bits.
        mask: "L" of the same size, 255 where to repaint; None when nothing is masked.
        provenance: what the record says of the files.
        notes: what the user should know.
    """

    image: Image.Image | None = None
    low_bytes: Image.Image | None = None
    mask: Image.Image | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def input_key(request: Request) -> tuple[Any, ...]:
    """Equal for requests that draw on the same canvas: task, pictures and size."""
    shared = settings_of(type(request)).items()
    return (request.task, *(getattr(request, name) for name, setting in shared if "input" in setting.affects))


def load_inputs(request: Request) -> InputImages:
    """Reads what a request names.

    Raises:
        InputFileError: a picture or mask that cannot be used.
        UsageError: an extension that cannot be meant.
    """
    if not isinstance(request, ImageRequest) or request.image is None:
        return InputImages()
    if isinstance(request, Denoise):
        exact = images.load_lossless(request.image)
        return InputImages(exact.image, exact.low_bytes, provenance={"image_sha256": exact.sha256}, notes=exact.notes)
    background = request.background if isinstance(request, PromptedImageRequest) else "white"
    loaded = images.load_image(request.image, background=background)
    facts: dict[str, Any] = {"image_sha256": loaded.sha256}
    notes = loaded.notes
    image = _resize(loaded.image, request)
    mask = None
    if isinstance(request, Inpaint) and request.mask is not None:
        masked = images.load_mask(
            request.mask, loaded.image.size, invert=request.invert_mask, resize=request.resize_mask
        )
        mask = images.feather(masked.mask.resize(image.size, Image.Resampling.BILINEAR), request.feather)
        facts["mask_sha256"] = masked.sha256
        notes += (*masked.notes, f"{masked.coverage:.1%} of the picture will be repainted")
    if isinstance(request, Outpaint):
        image, mask = _outpaint_canvas(image, request)
    return InputImages(image, mask=mask, provenance=facts, notes=notes)


def _resize(image: Image.Image, request: Request) -> Image.Image:
    """The picture at the size asked for; one side alone keeps the proportions."""
    if not isinstance(request, CanvasSettings) or (request.width is None and request.height is None):
        return image
    width = request.width or max(1, round(image.width * (request.height or 0) / image.height))
    height = request.height or max(1, round(image.height * (request.width or 0) / image.width))
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.LANCZOS)


def _outpaint_canvas(image: Image.Image, request: Outpaint) -> tuple[Image.Image, Image.Image]:
    if request.expand is not None:
        by = images.parse_expand(request.expand)
    else:
        by = images.expansion_to_size(image.size, *images.parse_size(request.target_size or ""))
    canvas, mask = images.expand_canvas(image, left=by.left, top=by.top, right=by.right, bottom=by.bottom)
    return canvas, images.feather(mask, request.feather)
