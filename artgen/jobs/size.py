"""Merge the settings `size`, `width` and `height`, and select the size at which a pipeline runs."""

import math
from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.spec.settings import CanvasSettings, SizeSettings

if TYPE_CHECKING:  # `--help` needs neither
    from artgen.registry import ResolvedModel
    from artgen.spec.base_requests import Request


def resolve_size(canvas: CanvasSettings, size: SizeSettings) -> CanvasSettings:
    """Merge `--size` with `--width` and `--height`.

    Raises:
        UsageError: both are set, or the size is invalid.
    """
    if size.size is None:
        return canvas
    if canvas.width is not None or canvas.height is not None:
        raise UsageError("Cannot combine --size with --width or --height.", "Omit one of them.")
    from artgen import images

    width, height = images.parse_size(size.size)
    return CanvasSettings(width=width, height=height)


def scoring_size(model: "ResolvedModel", size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height at which a model scores an image: about the native area, the same proportions.

    The sides are multiples of the model's size multiple.
    """
    native, multiple = model.native_size, model.size_multiple
    factor = math.sqrt(native[0] * native[1] / (size[0] * size[1]))
    width, height = (max(multiple, round(side * factor / multiple) * multiple) for side in size)
    return width, height


def pipeline_size(request: "Request", model: "ResolvedModel", size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height in pixels at which the pipeline runs.

    Args:
        request: request.
        model: resolved model.
        size: width and height of the result in pixels.
    """
    return size if getattr(request, "only_masked", None) is None else model.native_size
