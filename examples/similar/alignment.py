"""Align training images with a generated image: find the crop and the color change with the smallest difference.

Each candidate is cropped by a window, its colors are changed by an affine map that is fitted by least squares, and the
window is improved by Gauss-Newton steps (Lucas and Kanade, 1981). All candidates are aligned in one batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_WINDOW_SIDE = 0.55
"""Smallest width and height of a crop, relative to the training image."""

RECOLOR_PENALTY = 0.02
"""Decrease of the score if a color change is necessary. Of two equal candidates, the one without it is preferred."""

MIN_VARIANCE = 1.0
"""Added to the contrast and to its unexplained part, in squared gray levels: an image of one color has the score 0."""

_COLOR_RIDGE = 4.0
"""Added to the variance of the colors in squared gray levels: flat candidates explain nothing."""

_MAX_STEP = 0.05
"""Longest change of a window per step, relative to the image."""


@dataclass(frozen=True)
class Alignment:
    """Store the alignment of each candidate, arrays of length B.

    Attributes:
        scores: share of the contrast of the generated image that the cropped candidate explains, at most 1.
        windows: left, top, width and height of the crop, relative to the candidate, shape (B, 4).
        recolored: whether the colors of the candidate had to be changed.
    """

    scores: Floats
    windows: Floats
    recolored: NDArray[np.bool_]


def align(candidates: Floats, targets: Floats, windows: Floats, steps: int) -> Alignment:
    """Align candidates with generated images.

    Args:
        candidates: training images, shape (B, side, side, 3), gray levels. A larger side than that of the targets gives
            sharp crops.
        targets: the generated image of each candidate, shape (B, target side, target side, 3).
        windows: first crop of each candidate, shape (B, 4).
        steps: number of Gauss-Newton steps.
    """
    count, side = targets.shape[:2]
    position = ((np.arange(side) + 0.5) / side).astype(np.float32)
    position_x, position_y = np.tile(position, side)[None, :, None], np.repeat(position, side)[None, :, None]
    best = Alignment(np.full(count, -np.inf, np.float32), windows.copy(), np.zeros(count, bool))
    for step in range(steps + 1):
        cropped, by_x, by_y = _crop(candidates, windows, side)
        colors, rest, scores, recolored = _fit_colors(cropped, targets)
        better = scores > best.scores
        best = Alignment(
            np.where(better, scores, best.scores),
            np.where(better[:, None], windows, best.windows),
            np.where(better, recolored, best.recolored),
        )
        if step == steps:
            break
        by_x, by_y = by_x.reshape(count, -1, 3) @ colors, by_y.reshape(count, -1, 3) @ colors
        jacobian = np.stack([by_x, by_y, by_x * position_x, by_y * position_y], -1).reshape(count, -1, 4)
        normal = jacobian.transpose(0, 2, 1) @ jacobian
        damping = np.trace(normal, axis1=1, axis2=2)[:, None, None] * 0.01 + 1e-3
        change = np.linalg.solve(
            normal + np.eye(4, dtype=np.float32) * damping,
            jacobian.transpose(0, 2, 1) @ rest.reshape(count, -1, 1),
        )[..., 0]
        windows = windows + np.clip(change, -_MAX_STEP, _MAX_STEP)
        sizes = np.clip(windows[:, 2:], MIN_WINDOW_SIDE, 1)
        windows = np.concatenate([np.clip(windows[:, :2], 0, 1 - sizes), sizes], 1).astype(np.float32)
    return best


def _crop(images: Floats, windows: Floats, target_side: int) -> tuple[Floats, Floats, Floats]:
    """Return the crops, scaled to the target side, and their derivatives by the horizontal and vertical shift."""
    count, side = images.shape[:2]
    vertical, vertical_by_y = _sampling(windows[:, 1], windows[:, 3], side, target_side)
    horizontal, horizontal_by_x = _sampling(windows[:, 0], windows[:, 2], side, target_side)

    def sample(vertical: Floats, horizontal: Floats) -> Floats:
        rows = (vertical @ images.reshape(count, side, -1)).reshape(count, target_side, side, 3)
        result = horizontal @ rows.transpose(0, 2, 1, 3).reshape(count, side, -1)
        return result.reshape(count, target_side, target_side, 3).transpose(0, 2, 1, 3)

    by_x, by_y = sample(vertical, horizontal_by_x), sample(vertical_by_y, horizontal)
    return sample(vertical, horizontal), side * by_x, side * by_y


def _sampling(starts: Floats, lengths: Floats, side: int, target_side: int) -> tuple[Floats, Floats]:
    """Return the matrices of linear interpolation along one axis and their derivatives, (B, target side, side)."""
    position = (starts[:, None] + lengths[:, None] * (np.arange(target_side) + 0.5) / target_side) * side - 0.5
    position = np.clip(position, 0, side - 1 - 1e-4)
    pixel = np.floor(position).astype(int)
    fraction = (position - pixel).astype(np.float32)
    values = np.zeros((len(starts), target_side, side), np.float32)
    slopes = np.zeros_like(values)
    image, output = np.arange(len(starts))[:, None], np.arange(target_side)[None]
    values[image, output, pixel], values[image, output, pixel + 1] = 1 - fraction, fraction
    slopes[image, output, pixel], slopes[image, output, pixel + 1] = -1, 1
    return values, slopes


def _fit_colors(cropped: Floats, targets: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Return the color matrices, what the crops do not explain, the scores, and whether colors are changed."""
    count, pixels = len(cropped), cropped.shape[1] * cropped.shape[2]
    found, wanted = cropped.reshape(count, pixels, 3), targets.reshape(count, pixels, 3)
    unchanged = ((wanted - found) ** 2).sum((1, 2))
    found, wanted = found - found.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True)
    covariance = found.transpose(0, 2, 1) @ found + np.eye(3, dtype=np.float32) * pixels * _COLOR_RIDGE
    colors = np.linalg.solve(covariance, found.transpose(0, 2, 1) @ wanted)
    rest = wanted - found @ colors
    floor = MIN_VARIANCE * wanted[0].size
    contrast = (wanted**2).sum((1, 2)) + floor
    changed_score = 1 - ((rest**2).sum((1, 2)) + floor) / contrast - RECOLOR_PENALTY
    unchanged_score = 1 - (unchanged + floor) / contrast
    recolored = changed_score > unchanged_score
    return colors, rest, np.where(recolored, changed_score, unchanged_score), recolored
