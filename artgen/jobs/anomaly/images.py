"""The pictures that are looked at, and which cannot be."""

from collections.abc import Sequence
from pathlib import Path

from artgen import images
from artgen.errors import InputFileError

MIN_SIDE_PX = 32
"""Pixels a side below which a picture holds too few places to compare."""


def read_image_sizes(paths: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[InputFileError]]:
    """The pictures that can be looked at, with their (width, height), and what is wrong with the others."""
    usable: dict[Path, tuple[int, int]] = {}
    failures = []
    for path in paths:
        try:
            usable[path] = load_input_image(path).image.size
        except InputFileError as error:
            failures.append(error)
    return usable, failures


def load_input_image(path: Path) -> images.LoadedImage:
    """A picture as it is looked at: upright 8-bit sRGB, transparency over white.

    Raises:
        InputFileError: it cannot be used, or is below 32 pixels a side.
    """
    loaded = images.load_image(path)
    wide, high = loaded.image.size
    if min(wide, high) < MIN_SIDE_PX:
        raise InputFileError(f"'{path}' is {wide}x{high}; {MIN_SIDE_PX} pixels a side are the least to compare.")
    return loaded
