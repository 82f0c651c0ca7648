"""Change the colors of images with 16 bits per channel, and keep their mode and transparency."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from artgen.images.editing import with_alpha_of
from artgen.images.lossless import LosslessImage, drop_alpha

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_PIXELS_AT_ONCE = 1 << 20
"""Number of pixels that are computed at a time, which limits the memory."""


def colors_16bit(source: LosslessImage) -> "NDArray[Any]":
    """Return the colors of a 16-bit image, shape (H, W) or (H, W, 3), uint16.

    Raises:
        ValueError: the image has 8 bits per channel.
    """
    import numpy  # the import takes longer than many commands

    if source.low_bytes is None:
        raise ValueError("the image has 8 bits per channel")
    high, low = drop_alpha(source.image), drop_alpha(source.low_bytes)
    colors: NDArray[Any] = numpy.asarray(high).astype(numpy.uint16) << 8 | numpy.asarray(low)
    return colors


def replace_colors_16bit(source: LosslessImage, colors: "NDArray[Any]") -> LosslessImage:
    """Return a 16-bit image with other colors and the same mode, transparency and metadata.

    Args:
        source: image with 16 bits per channel.
        colors: shape (H, W) or (H, W, 3), uint16. A gray image gets the mean of the channels.
    """
    import numpy  # as above

    if source.low_bytes is None:
        raise ValueError("the image has 8 bits per channel")
    if colors.ndim == 3 and source.image.mode in ("L", "LA"):
        colors = numpy.rint(colors.mean(axis=2, dtype=numpy.float32)).astype(numpy.uint16)
    high, low = (Image.fromarray((colors >> shift & 255).astype(numpy.uint8)) for shift in (8, 0))
    image, low = with_alpha_of(high, source.image), with_alpha_of(low, source.low_bytes)
    image.info = dict(source.image.info)
    return replace(source, image=image, low_bytes=low)


def add_change(source: LosslessImage, before: Image.Image, after: Image.Image) -> LosslessImage:
    """Add the difference of two 8-bit images to an image with 16 bits per channel.

    Args:
        source: image with 16 bits per channel in sRGB.
        before, after: mode RGB, same size.
    """
    import numpy  # as above

    colors = colors_16bit(source)
    mode = source.image.mode.removesuffix("A")
    rows = max(1, _MAX_PIXELS_AT_ONCE // source.image.width)
    for top in range(0, source.image.height, rows):
        box = (0, top, source.image.width, min(top + rows, source.image.height))
        old, new = (numpy.asarray(image.crop(box).convert(mode)).astype(numpy.int32) for image in (before, after))
        part = colors[top : box[3]]
        part[:] = (part.astype(numpy.int32) + 257 * (new - old)).clip(0, 65535)
    return replace_colors_16bit(source, colors)
