"""The pictures that a request starts from: read, resized, masked and extended."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import images
from artgen.requests import Denoise, FromImage, Inpaint, Outpaint, Redraw, Request
from artgen.settings import Canvas


@dataclass(frozen=True)
class Pictures:
    """What a task starts from.

    Attributes:
        image: RGB, at the size of the result; None for a task that starts from nothing. For denoise: L, LA, RGB or
            RGBA, as the file has it.
        low: the lower bytes of a picture with 16 bits a channel, in the same mode; None for 8 bits.
        mask: "L" of the same size, 255 where to repaint; None when nothing is masked.
        facts: what the record says of the files.
        notes: what the user should know.
    """

    image: Image.Image | None = None
    low: Image.Image | None = None
    mask: Image.Image | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def canvas_key(request: Request) -> tuple[Any, ...]:
    """Equal for requests that draw on the same canvas: task, pictures and size."""
    names: tuple[str, ...] = ("width", "height")
    if isinstance(request, FromImage):
        names += ("image", "mask", "background", "invert_mask", "fit_mask", "feather", "expand", "to")
    return (request.task, *(getattr(request, name, None) for name in names))


def read(request: Request) -> Pictures:
    """Reads what a request names.

    Raises:
        InputFileError: a picture or mask that cannot be used.
        UsageError: an extension that cannot be meant.
    """
    if not isinstance(request, FromImage) or request.image is None:
        return Pictures()
    if isinstance(request, Denoise):
        exact = images.load_exact(request.image)
        return Pictures(exact.image, exact.low, facts={"image_sha256": exact.sha256}, notes=exact.notes)
    background = request.background if isinstance(request, Redraw) else "white"
    loaded = images.load_image(request.image, background=background)
    facts: dict[str, Any] = {"image_sha256": loaded.sha256}
    notes = loaded.notes
    image = _resized(loaded.image, request)
    mask = None
    if isinstance(request, Inpaint) and request.mask is not None:
        masked = images.load_mask(request.mask, loaded.image.size, invert=request.invert_mask, fit=request.fit_mask)
        mask = images.feather(masked.mask.resize(image.size, Image.Resampling.BILINEAR), request.feather)
        facts["mask_sha256"] = masked.sha256
        notes += (*masked.notes, f"{masked.share:.1%} of the picture will be repainted")
    if isinstance(request, Outpaint):
        image, mask = _extended(image, request)
    return Pictures(image, mask=mask, facts=facts, notes=notes)


def _resized(image: Image.Image, request: Request) -> Image.Image:
    """The picture at the size asked for; one side alone keeps the proportions."""
    if not isinstance(request, Canvas) or (request.width is None and request.height is None):
        return image
    width = request.width or max(1, round(image.width * (request.height or 0) / image.height))
    height = request.height or max(1, round(image.height * (request.width or 0) / image.width))
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.LANCZOS)


def _extended(image: Image.Image, request: Outpaint) -> tuple[Image.Image, Image.Image]:
    if request.expand is not None:
        by = images.parse_expand(request.expand)
    else:
        by = images.expansion_to(image.size, *images.parse_size(request.to or ""))
    canvas, mask = images.expand_canvas(image, left=by.left, top=by.top, right=by.right, bottom=by.bottom)
    return canvas, images.feather(mask, request.feather)
