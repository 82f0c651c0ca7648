"""Change training images as a copier would: crop, mirror, recolor, add noise, and combinations of these changes."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageOps

NOISE_SIGMA = 25.5
"""Standard deviation of the noise in gray levels: 10 % of the range."""

CROP_SIDES = (0.7, 0.95)
"""Smallest and largest side of a crop, relative to the image."""

KINDS: tuple[tuple[str, ...], ...] = (
    ("crop",),
    ("flip",),
    ("recolor",),
    ("noise",),
    ("crop", "flip"),
    ("crop", "recolor"),
    ("crop", "noise"),
    ("flip", "recolor"),
    ("recolor", "noise"),
    ("crop", "flip", "recolor", "noise"),
)
"""Combinations that are measured."""


def change(image: Image.Image, kinds: tuple[str, ...], rng: np.random.Generator) -> Image.Image:
    """Return a changed copy of an RGB image; the changes are applied in the order of `kinds`."""
    for kind in kinds:
        image = _CHANGES[kind](image, rng)
    return image


def _crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = image.size
    side = rng.uniform(*CROP_SIDES)
    left, top = rng.uniform(0, 1 - side, 2)
    box = (left * width, top * height, (left + side) * width, (top + side) * height)
    return image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def _flip(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _recolor(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change the hue by 40 to 320 degrees, or the contrast and the tint, or remove the colors."""
    kind = rng.integers(3)
    if kind == 0:
        hsv = np.array(image.convert("HSV"))
        hsv[..., 0] += np.uint8(rng.integers(28, 228))
        return Image.fromarray(hsv, "HSV").convert("RGB")
    if kind == 1:
        pixels = np.asarray(image, np.float32) * rng.uniform(0.55, 1, 3) + rng.uniform(0, 60, 3)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image.convert("L").convert("RGB")


def _noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, NOISE_SIGMA, pixels.shape), 0, 255).astype(np.uint8))


_CHANGES: Mapping[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "crop": _crop,
    "flip": _flip,
    "recolor": _recolor,
    "noise": _noise,
}
