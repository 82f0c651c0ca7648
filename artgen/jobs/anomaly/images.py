"""Load the images that are scored or used for a fit."""

from collections.abc import Sequence
from pathlib import Path

from artgen import images
from artgen.errors import InputFileError

MIN_SIDE_PX = 32
"""Minimum side of an image. Smaller images have too few grid cells to compare."""


def read_image_sizes(paths: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[InputFileError]]:
    """Return the (width, height) of each usable image, and the errors of the other images."""
    sizes: dict[Path, tuple[int, int]] = {}
    failures = []
    for path in paths:
        try:
            sizes[path] = load_input_image(path).image.size
        except InputFileError as error:
            failures.append(error)
    return sizes, failures


def load_input_image(path: Path) -> images.LoadedImage:
    """Return an image as upright 8-bit sRGB, composited over white.

    Raises:
        InputFileError: the file cannot be read, or a side is below 32 pixels.
    """
    loaded = images.load_image(path)
    width, height = loaded.image.size
    if min(width, height) < MIN_SIDE_PX:
        raise InputFileError(f"'{path}' is too small: {width}x{height}, the minimum is {MIN_SIDE_PX} pixels a side.")
    return loaded
