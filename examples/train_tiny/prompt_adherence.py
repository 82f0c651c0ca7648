"""Measure prompt adherence from pixels: background color, object color, order, and count."""

import numpy as np
from named_colors import BACKGROUNDS, HUES
from PIL import Image
from scipy import ndimage

WHITE = (255, 255, 255)
COLOR_TOLERANCE = 40
"""Largest difference of a channel at which two colors count as equal, 0 to 255."""
HUE_BINS = 36
MIN_SATURATION = 0.2
"""Smallest saturation of a pixel that has a hue, 0 to 1."""
PLAIN_FRACTION = 0.8
"""Smallest fraction of the border of a plain background that has the median color."""


def border(image: np.ndarray) -> np.ndarray:
    """Return the pixels of the border (1/16 of the side), shape (n, 3)."""
    edge = max(2, len(image) // 16)
    return np.concatenate(
        [image[:edge].reshape(-1, 3), image[-edge:].reshape(-1, 3),
         image[:, :edge].reshape(-1, 3), image[:, -edge:].reshape(-1, 3)]
    )  # fmt: skip


def border_color(image: np.ndarray) -> tuple[int, ...]:
    """Return the median color of the border."""
    return tuple(int(value) for value in np.median(border(image), axis=0))


def background_color(image: np.ndarray) -> str:
    """Return the named color nearest to the median of the border."""
    median = np.median(border(image), axis=0)
    return min(BACKGROUNDS, key=lambda n: float(np.square(median - BACKGROUNDS[n]).sum()))


def has_plain_background(image: np.ndarray) -> bool:
    """Return whether most of the border has one color. A gradient, a landscape or a pattern is not plain."""
    difference = np.abs(border(image).astype(int) - border_color(image)).max(axis=1)
    return bool((difference <= COLOR_TOLERANCE).mean() >= PLAIN_FRACTION)


def foreground(image: np.ndarray, background: tuple[int, ...] = WHITE) -> np.ndarray:
    """Return a mask of the pixels that differ from the background by more than 40 of 255 in a channel."""
    mask: np.ndarray = np.abs(image.astype(int) - background).max(axis=2) > COLOR_TOLERANCE
    return mask


def main_hue(image: np.ndarray, background: tuple[int, ...] = WHITE) -> float:
    """Return the most frequent hue of the saturated foreground pixels, 0 to 1."""
    hsv = np.asarray(Image.fromarray(image).convert("HSV"), np.float32) / 255
    weight = hsv[..., 1] * hsv[..., 2] * foreground(image, background) * (hsv[..., 1] > MIN_SATURATION)
    counts = np.bincount((hsv[..., 0].ravel() * HUE_BINS).astype(int) % HUE_BINS, weight.ravel(), HUE_BINS)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    return (int(smooth.argmax()) + 0.5) / HUE_BINS


def hue_distance(first: np.ndarray | float, second: float) -> np.ndarray | float:
    """Return the distance of hues on the circle, 0 to 0.5."""
    distance: np.ndarray | float = np.abs((first - second + 0.5) % 1 - 0.5)
    return distance


def object_color(image: np.ndarray) -> str:
    """Return the named hue nearest to the most frequent hue of the saturated foreground pixels."""
    hue = main_hue(image)
    return min(HUES, key=lambda name: float(hue_distance(hue, HUES[name])))


def count_objects(image: np.ndarray, background: tuple[int, ...] = WHITE) -> int:
    """Count separate objects on a plain background: connected components of at least 2.5 % of the image.

    Gaps of up to 1/16 of the side are closed first, so that the parts of one object are connected.
    """
    side = len(image)
    mask = ndimage.binary_closing(foreground(image, background), iterations=max(1, side // 64))
    _, parts = ndimage.label(mask)
    if parts == 0:
        return 0
    labels, _ = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, range(1, parts + 1))
    return int((np.asarray(sizes) >= 0.025 * side * side).sum())


def halves(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left and the right half, each a square crop of the middle rows."""
    side = len(image)
    low, high = side // 4, side // 4 + side // 2
    return image[low:high, : side // 2], image[low:high, side // 2 :]
