"""Describe the edges of an image and of crops of it, to select candidates for the alignment.

The edges come from the structure tensor of the three color channels (Di Zenzo, "A note on the gradient of a
multi-image", 1986): rotations of the color space, such as another hue, do not change them. The descriptor is a grid of
cells with the strength and the direction of the edges, similar to HOG (Dalal and Triggs, 2005).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

SIDE_PX = 32
"""Side of the small copy of an image. Every image is scaled to a square."""

CELLS = 6
"""Cells per side of a descriptor."""

DESCRIPTOR_SIZE = 3 * CELLS * CELLS

_CROP_SIDES = (0.85, 0.7)
"""Sides of the crops of a training image, relative to the image; nine positions each."""


def _crop_windows() -> Floats:
    windows = [(0.0, 0.0, 1.0, 1.0)]
    for side in _CROP_SIDES:
        offsets = (0, (1 - side) / 2, 1 - side)
        windows += [(left, top, side, side) for top in offsets for left in offsets]
    return np.array(windows, np.float32)


WINDOWS = _crop_windows()
"""Left, top, width and height of each described crop, relative to the image; the first is the complete image."""


def small_copy(image: Image.Image, side: int = SIDE_PX) -> Floats:
    """Return an RGB image scaled to a square, shape (side, side, 3), gray levels 0 to 255."""
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32)


def describe_crops(small: Floats) -> NDArray[np.int8]:
    """Return the descriptors of all windows of a small copy, shape (windows, `DESCRIPTOR_SIZE`)."""
    return np.asarray(np.round(127 * _describe(small, _POOL_Y, _POOL_X)), np.int8)


def describe_image(small: Floats) -> Floats:
    """Return the descriptor of a complete small copy, of length 1."""
    descriptor: Floats = _describe(small, _POOL_Y[:1], _POOL_X[:1])[0]
    return descriptor


def _describe(small: Floats, pool_y: Floats, pool_x: Floats) -> Any:
    cells = np.einsum("wgi,cij,whj->wcgh", pool_y, _edge_map(small), pool_x, optimize=True).reshape(len(pool_y), -1)
    return cells / np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-6)


def _edge_map(small: Floats) -> Floats:
    """Return the strength of the edges, and the strength times cosine and sine of twice their angle."""
    padded = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
    x, y = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    xx, yy, xy = (x * x).sum(2), (y * y).sum(2), (x * y).sum(2)
    energy = xx + yy
    strength = np.sqrt(energy)
    strength = np.maximum(strength - np.median(strength), 0)  # The median of a noisy flat image is its noise.
    direction = strength / np.maximum(energy, 1e-6)
    return np.stack([strength, (xx - yy) * direction, 2 * xy * direction])


def _pooling(start: float, length: float) -> Floats:
    """Return the matrix that averages the pixels of each cell, shape (`CELLS`, `SIDE_PX`)."""
    edges = np.linspace(start, start + length, CELLS + 1) * SIDE_PX
    pixel = np.arange(SIDE_PX)
    overlap = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None])
    return np.asarray(np.clip(overlap, 0, 1) / (edges[1] - edges[0]), np.float32)


_POOL_X = np.stack([_pooling(left, width) for left, _, width, _ in WINDOWS.tolist()])
_POOL_Y = np.stack([_pooling(top, height) for _, top, _, height in WINDOWS.tolist()])
