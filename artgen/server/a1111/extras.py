"""Convert the fields of `extra-single-image` and `extra-batch-images`, which enlarge images, to jobs."""

from collections.abc import Iterator, Mapping
from typing import Any

from artgen.registry.upscalers import upscaler_entries
from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.image_fields import decode_base64
from artgen.server.a1111.typed_fields import read_integer, read_list, read_number, read_text
from artgen.server.errors import NOT_FOUND
from artgen.spec.fields import describe_value
from artgen.spec.settings.sampling import MAX_SIDE_PX

MAX_FACTOR = 16
MAX_IMAGES = 32

_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "codeformer_visibility": (0,),
    "extras_upscaler_2_visibility": (0,),
    "gfpgan_visibility": (0,),
}
"""Fields that A1111 supports and artgen does not -> values that have no effect, in addition to null."""


def read_extras(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a job without its image.

    Raises:
        FieldError: a field is not valid.
    """
    line: dict[str, Any] = {"task": "upscale", "image": "upload:image", **_method(read_text(body, "upscaler_1"))}
    if read_integer(body, "resize_mode", 0, 0, 1):
        width, height = (read_integer(body, f"upscaling_resize_{side}", 512, 1, MAX_SIDE_PX) for side in ("w", "h"))
        return {**line, "target_size": f"{width}x{height}"}
    return {**line, "by": read_number(body, "upscaling_resize", 2.0, 1.0, MAX_FACTOR)}


def read_images(body: Mapping[str, Any]) -> list[bytes]:
    """Return the images of `imageList`.

    Raises:
        FieldError: an image is not valid.
    """
    items = read_list(body, "imageList")
    if not 0 < len(items) <= MAX_IMAGES:
        raise FieldError(f"imageList must have 1 to {MAX_IMAGES} images, not {len(items)}.", "imageList")
    return [decode_base64(item.get("data") if isinstance(item, dict) else item, "imageList") for item in items]


def html_info(body: Mapping[str, Any], notes: list[str]) -> str:
    """Return `html_info`: one paragraph for each note. Text is escaped."""
    from html import escape

    return "".join(f"<p>{escape(text)}</p>" for text in [*_messages(body), *notes])


def _messages(body: Mapping[str, Any]) -> Iterator[str]:
    for name, neutral in _UNSUPPORTED.items():
        value = body.get(name)
        if value is not None and value not in neutral:
            yield f"{name} is not supported and has no effect: {describe_value(value)}."


def _method(upscaler: str) -> dict[str, str]:
    if upscaler in ("", "None", "Lanczos"):
        return {"method": "lanczos"}
    if upscaler in upscaler_entries():
        return {"method": "model", "upscale_model": upscaler}
    raise FieldError(f"Upscaler not found: {describe_value(upscaler)}.", "upscaler_1", NOT_FOUND)
