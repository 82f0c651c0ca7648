"""Fill the masked area of an image before denoising: with noise, or with a continuation of its surroundings."""

import hashlib
from typing import TYPE_CHECKING, Any

from PIL import Image

from artgen.system.command_state import register_reset

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BIHARMONIC_PIXELS = 16_384
"""Largest number of masked pixels for which the biharmonic equation is solved. Larger areas are solved in a smaller
copy of the image: the time grows faster than the number of pixels, and the solution is smooth."""

MAX_BLUR_SIDE_PX = 512
"""Longer side of the copy of a larger image that is blurred."""

_BLUR_SCALES = (64, 32, 16, 8, 4, 2, 1)
"""Standard deviations of the blur in pixels, if the longer side is `MAX_BLUR_SIDE_PX`."""

_NOISE_STREAM = 0xF111
"""Second part of the seed of the noise, which differs from the noise of the pipeline."""

_last_biharmonic: dict[str, Image.Image] = {}
"""The last result, by hash of image and mask: the images of a series differ only in their seeds."""
register_reset(_last_biharmonic.clear)


def fill_masked(image: Image.Image, mask: Image.Image, method: str, seed: int) -> Image.Image:
    """Return an image whose masked pixels are replaced. The other pixels are unchanged.

    Args:
        image: mode RGB.
        mask: mode L, same size; pixels above 0 are replaced.
        method: `original` returns the image; `noise` draws uniformly distributed values; `blur` averages the
            surroundings with decreasing radii; `biharmonic` continues them smoothly (Damelin and Hoang 2018, "On
            surface completion and image inpainting by biharmonic functions").
        seed: seed of the noise.
    """
    if method == "original" or not mask.getbbox():
        return image
    binary = mask.point([0] + [255] * 255)
    if method == "noise":
        content = _noise(image.size, seed)
    elif binary.getextrema()[0] == 255:  # The image has no surroundings.
        content = Image.new("RGB", image.size, (128, 128, 128))
    elif method == "blur":
        content = _blurred_surroundings(image, binary)
    else:
        content = _cached_biharmonic(image, binary)
    return Image.composite(content, image, binary)


def _noise(size: tuple[int, int], seed: int) -> Image.Image:
    import numpy  # the import takes longer than many commands

    generator = numpy.random.default_rng((seed % 2**64, _NOISE_STREAM))
    return Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8), "RGB")


def _blurred_surroundings(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Blur the image with decreasing radii. Each blur is the weighted mean of the pixels outside the mask, and replaces
    the masked pixels near them (normalized convolution, Knutsson and Westin 1993).
    """
    import numpy  # as above
    from scipy.ndimage import gaussian_filter

    pixels, is_masked = _reduced(image, mask, min(1.0, MAX_BLUR_SIDE_PX / max(image.size)))
    known = (~is_masked).astype(numpy.float32)
    if not known.any():  # Each pixel of the copy overlaps the mask.
        return Image.new("RGB", image.size, (128, 128, 128))
    filled = numpy.broadcast_to(pixels[known > 0].mean(axis=0), pixels.shape).copy()
    for scale in _BLUR_SCALES:
        sigma = scale * max(is_masked.shape) / MAX_BLUR_SIDE_PX
        weight = gaussian_filter(known, sigma)[..., None]
        mean = gaussian_filter(pixels * known[..., None], (sigma, sigma, 0)) / numpy.maximum(weight, 1e-6)
        filled += (mean - filled) * numpy.where(weight > 1e-3, numpy.clip(weight * 4, 0, 1), 0)
    return _to_image(filled, image.size)


def _cached_biharmonic(image: Image.Image, mask: Image.Image) -> Image.Image:
    key = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
    if key not in _last_biharmonic:
        _last_biharmonic.clear()
        _last_biharmonic[key] = _biharmonic(image, mask)
    return _last_biharmonic[key]


def _biharmonic(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Solve the biharmonic equation in the masked area, in a smaller copy if the area is large."""
    from skimage.restoration import inpaint_biharmonic

    pixels, is_masked = _reduced(image, mask, min(1.0, (MAX_BIHARMONIC_PIXELS / mask.histogram()[255]) ** 0.5))
    if is_masked.all():
        return _blurred_surroundings(image, mask)
    solved = inpaint_biharmonic(pixels / 255, is_masked, split_into_regions=True, channel_axis=-1)
    return _to_image(solved * 255, image.size)


def _reduced(image: Image.Image, mask: Image.Image, scale: float) -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """Return the pixels of a smaller copy, shape (h, w, 3), 0 to 255, and which of them overlap the mask.

    Args:
        image: mode RGB.
        mask: mode L, 0 and 255.
        scale: factor of the sides, above 0 and at most 1.
    """
    import numpy  # as above

    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size != image.size:
        image, mask = (each.resize(size, Image.Resampling.BOX) for each in (image, mask))
    return numpy.asarray(image).astype(numpy.float32), numpy.asarray(mask) > 0


def _to_image(pixels: "NDArray[Any]", size: tuple[int, int]) -> Image.Image:
    import numpy  # as above

    image = Image.fromarray(numpy.clip(numpy.rint(pixels), 0, 255).astype(numpy.uint8), "RGB")
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
