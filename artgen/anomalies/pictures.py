"""The pictures that are looked at, and which cannot be."""

from collections.abc import Sequence
from pathlib import Path

from artgen import images
from artgen.errors import InputFileError

LEAST_SIDE = 32
"""Pixels a side below which a picture holds too few places to compare."""


def read_pictures(paths: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[InputFileError]]:
    """The pictures that can be looked at, with their (width, height), and what is wrong with the others."""
    usable: dict[Path, tuple[int, int]] = {}
    failures = []
    for path in paths:
        try:
            usable[path] = load(path).image.size
        except InputFileError as error:
            failures.append(error)
    return usable, failures


def load(path: Path) -> images.LoadedImage:
    """A picture as it is looked at: upright 8-bit sRGB, transparency over white.

    Raises:
        InputFileError: it cannot be used, or is below 32 pixels a side.
    """
    loaded = images.load_image(path)
    wide, high = loaded.image.size
    if min(wide, high) < LEAST_SIDE:
        raise InputFileError(f"'{path}' is {wide}x{high}; {LEAST_SIDE} pixels a side are the least to compare.")
    return loaded
