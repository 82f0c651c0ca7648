"""Convert between PIL images and arrays for denoising; preserve mode, transparency and bit depth."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from artgen.errors import UsageError
from artgen.jobs.job import DenoiseJob


@dataclass(frozen=True)
class ImageArray:
    """Store an image as an array, and the properties that the output image takes over.

    Attributes:
        color: shape (C, H, W), float32, 0 to 255; C is 1 for gray images and 3 for color images.
        alpha: alpha channel in mode L, and its low bytes for 16-bit images; None without transparency.
        mode: L or RGB, the mode of the file without alpha.
        is_16bit: True for 16 bits per channel.
        info: color profile, resolution and EXIF data of the file, as in `artgen.images.LosslessImage`.
    """

    color: np.ndarray
    alpha: tuple[Image.Image, Image.Image | None] | None
    mode: str
    is_16bit: bool
    info: dict[str | tuple[int, int], Any]


def image_to_array(job: DenoiseJob) -> ImageArray:
    """Return the input image of a job as an array; color images with equal channels become gray.

    Raises:
        UsageError: the job has no image.
    """
    if job.image is None:
        raise UsageError("Cannot run denoise: the input image is missing.", "artgen denoise input.png")
    values = _to_channels_first(job.image).astype(np.float32)
    if job.low_bytes is not None:
        values = (values * 256 + _to_channels_first(job.low_bytes)) / 257
    alpha = None
    if job.image.mode in ("LA", "RGBA"):
        values = values[:-1]
        alpha = job.image.getchannel("A"), job.low_bytes.getchannel("A") if job.low_bytes else None
    is_gray = len(values) == 1 or bool((values == values[:1]).all())
    mode = job.image.mode.removesuffix("A")
    color = np.ascontiguousarray(values[:1] if is_gray else values)
    return ImageArray(color, alpha, mode, job.low_bytes is not None, dict(job.image.info))


def array_to_image(source: ImageArray, denoised: np.ndarray) -> tuple[Image.Image, Image.Image | None]:
    """Return an image with the mode and transparency of the source, and its low bytes for 16-bit images.

    Args:
        source: array of the input image.
        denoised: shape (C, H, W), 0 to 255.
    """
    if len(denoised) == 1 and source.mode == "RGB":
        denoised = np.repeat(denoised, 3, axis=0)
    if not source.is_16bit:
        return _to_pil_image(np.rint(np.clip(denoised, 0, 255)).astype(np.uint8), source, 0), None
    values = np.rint(np.clip(denoised.astype(np.float64) * 257, 0, 65535)).astype(np.uint16)
    high, low = (values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)
    return _to_pil_image(high, source, 0), _to_pil_image(low, source, 1)


def to_rgb(color: np.ndarray) -> np.ndarray:
    """Return three channels; a gray channel is repeated."""
    return np.repeat(color, 3, axis=0) if len(color) == 1 else color


def match_channels(source: ImageArray, denoised: np.ndarray) -> np.ndarray:
    """Return one channel if the source is gray, else all channels."""
    return denoised.mean(0, keepdims=True) if len(source.color) == 1 else denoised


def _to_channels_first(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _to_pil_image(values: np.ndarray, source: ImageArray, byte_index: int) -> Image.Image:
    image = Image.fromarray(values[0] if source.mode == "L" else np.ascontiguousarray(values.transpose(1, 2, 0)))
    if source.alpha is not None and (alpha := source.alpha[byte_index]) is not None:
        image.putalpha(alpha)
    image.info = dict(source.info)
    return image
