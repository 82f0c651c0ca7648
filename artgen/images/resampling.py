"""Resample arrays of 8-bit and 16-bit pixels with Pillow."""

from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resize_lanczos(pixels: "NDArray[Any]", size: tuple[int, int]) -> "NDArray[Any]":
    """Return an array of pixels in another size, resampled with Lanczos.

    Args:
        pixels: shape (H, W) or (H, W, C), uint8 or uint16. The result has the same dtype.
        size: width and height of the result in pixels.
    """
    import numpy  # the import takes longer than many commands

    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    if pixels.dtype == numpy.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3):
        return numpy.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    if pixels.ndim == 2:
        return _resize_channel(pixels, size)
    result = numpy.empty((size[1], size[0], pixels.shape[2]), pixels.dtype)
    for channel in range(pixels.shape[2]):  # one channel in float32 at a time limits the memory
        result[..., channel] = _resize_channel(pixels[..., channel], size)
    return result


def _resize_channel(values: "NDArray[Any]", size: tuple[int, int]) -> "NDArray[Any]":
    import numpy  # as above

    resized = numpy.array(
        Image.fromarray(values.astype(numpy.float32)).resize(size, Image.Resampling.LANCZOS), copy=True
    )
    numpy.rint(resized, out=resized)
    numpy.clip(resized, 0, numpy.iinfo(values.dtype).max, out=resized)
    return resized.astype(values.dtype)
