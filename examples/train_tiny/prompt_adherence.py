"""Measure prompt adherence from pixels: background color, object color, order, and count."""

import numpy as np
from PIL import Image
from scenes import BACKGROUNDS, HUES
from scipy import ndimage


def background_color(image: np.ndarray) -> str:
    """Return the named color nearest to the median of the border (1/16 of the side)."""
    edge = max(2, len(image) // 16)
    border = np.concatenate(
        [image[:edge].reshape(-1, 3), image[-edge:].reshape(-1, 3),
         image[:, :edge].reshape(-1, 3), image[:, -edge:].reshape(-1, 3)]
    )  # fmt: skip
    median = np.median(border, axis=0)
    return min(BACKGROUNDS, key=lambda n: float(np.square(median - BACKGROUNDS[n]).sum()))


def foreground(image: np.ndarray) -> np.ndarray:
    """Return a mask of the pixels that differ from white by more than 40 of 255 in a channel."""
    mask: np.ndarray = (255 - image.astype(int)).max(axis=2) > 40
    return mask


def object_color(image: np.ndarray) -> str:
    """Return the named hue nearest to the most frequent hue of the saturated foreground pixels."""
    hsv = np.asarray(Image.fromarray(image).convert("HSV"), np.float32) / 255
    weight = hsv[..., 1] * hsv[..., 2] * foreground(image) * (hsv[..., 1] > 0.2)
    counts = np.bincount((hsv[..., 0].ravel() * 36).astype(int) % 36, weight.ravel(), 36)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    hue = (int(smooth.argmax()) + 0.5) / 36

    def hue_distance(name: str) -> float:
        return abs((hue - HUES[name] + 0.5) % 1 - 0.5)

    return min(HUES, key=hue_distance)


def count_objects(image: np.ndarray) -> int:
    """Count separate objects on white: connected components of at least 2.5 % of the image.

    Gaps of up to 1/16 of the side are closed first, so that the parts of one object are connected.
    """
    side = len(image)
    mask = ndimage.binary_closing(foreground(image), iterations=max(1, side // 64))
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
