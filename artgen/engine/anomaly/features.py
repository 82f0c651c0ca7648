"""Compare an image with its reconstructions on a grid of cells: pixels, gradients, and features of a network.

Distances are logarithms of mean squares. Therefore a difference below normal (for example a smoothed spot) is as
visible as a difference above normal. Signed color differences distinguish brighter from darker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from artgen.engine import metrics
from artgen.engine.anomaly.pixel import LevelReconstruction

GRID_CELL_PX = 4
"""Lower bound of the side of a grid cell in pixels."""
MAX_GRID = 64
"""Upper bound of the number of cells along the longer side."""
MAX_FEATURE_PX = 512
"""Upper bound of the side in pixels at which network features are compared; larger images are downscaled."""

NUM_DISTANCES = 7
"""Distance channels of a noise level; three signed color channels follow."""
MIN_FEATURE_DISTANCE = 1e-3
"""Added to squared feature distances before the logarithm."""


@dataclass(frozen=True)
class FeatureMaps:
    """Store the differences between an image and its reconstructions.

    Attributes:
        maps: shape (channels, rows, columns), float32. Each noise level has seven distances, three signed color
            differences and, with a prompt, the likelihood ratio.
        channels_per_level: number of channels of a noise level.
    """

    maps: NDArray[np.float32]
    channels_per_level: int

    @property
    def distances(self) -> NDArray[np.float32]:
        """Return the distances without color differences and ratios, shape (levels * 7, rows, columns)."""
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.channels_per_level, rows, columns)
        return levels[:, :NUM_DISTANCES].reshape(-1, rows, columns)

    @property
    def likelihood_ratio(self) -> NDArray[np.float32] | None:
        """Return the likelihood ratio, shape (levels, rows, columns); None if there is none.

        The ratio is above 0 where the prompt does not match.
        """
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.channels_per_level, rows, columns)
        return levels[:, -1] if self.channels_per_level == num_channels(has_prompt=True) else None


def num_channels(*, has_prompt: bool) -> int:
    """Return the number of channels of a noise level."""
    return NUM_DISTANCES + 3 + has_prompt


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Return the (rows, columns) of the grid for an image size in pixels; cells are approximately square."""
    cell_px = max(GRID_CELL_PX, max(height, width) / MAX_GRID)
    return max(1, round(height / cell_px)), max(1, round(width / cell_px))


@torch.inference_mode()
def compute_feature_maps(reconstructions: Sequence[LevelReconstruction], size: tuple[int, int]) -> FeatureMaps:
    """Return the feature maps of an image of (height, width) from its reconstructions at all noise levels."""
    grid_size = grid_shape(*size)
    levels = [_level_maps(each, grid_size) for each in reconstructions]
    return FeatureMaps(np.concatenate(levels), len(levels[0]))


def _level_maps(reconstruction: LevelReconstruction, grid_size: tuple[int, int]) -> NDArray[np.float32]:
    difference = torch.from_numpy(reconstruction.image - reconstruction.reconstruction)[None]
    squares = _pool_to_grid(difference.square().mean(1, keepdim=True), grid_size)
    horizontal, vertical = (
        _pool_to_grid(functional.pad(difference.diff(dim=axis).square().mean(1, keepdim=True), padding), grid_size)
        for axis, padding in ((3, (0, 1)), (2, (0, 0, 0, 1)))
    )
    pixel_distances = [
        _gaussian_blur(squares, 0.5),
        _gaussian_blur(squares, 1.5),
        _gaussian_blur(horizontal, 0.75),
        _gaussian_blur(vertical, 0.75),
    ]
    feature_distances = (_gaussian_blur(each, 0.75) for each in _feature_distances(reconstruction, grid_size))
    maps = [torch.log(each + 1) for each in pixel_distances]
    maps += [torch.log(each + MIN_FEATURE_DISTANCE) for each in feature_distances]
    maps.append(_gaussian_blur(_pool_to_grid(difference, grid_size), 1.0))
    if reconstruction.likelihood_ratio is not None:
        ratio = torch.from_numpy(reconstruction.likelihood_ratio)[None, None]
        maps.append(_gaussian_blur(_pool_to_grid(ratio, grid_size), 0.75))
    level_maps: NDArray[np.float32] = torch.cat(maps, 1)[0].numpy()
    return level_maps


def _feature_distances(reconstruction: LevelReconstruction, grid_size: tuple[int, int]) -> list[torch.Tensor]:
    """Return the squared differences of the bundled encoder's features, one (1, 1, rows, columns) for each block."""
    features = [
        metrics.encoder_features(_downscale_for_features(each))
        for each in (reconstruction.image, reconstruction.reconstruction)
    ]
    return [
        _pool_to_grid((first - second).square().sum(1, keepdim=True), grid_size)
        for first, second in zip(*features, strict=True)
    ]


def _downscale_for_features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (3, H, W) as (h, w, 3) with sides of at most `MAX_FEATURE_PX`."""
    factor = -(-max(image.shape[1:]) // MAX_FEATURE_PX)
    small = functional.avg_pool2d(torch.from_numpy(image)[None], factor)[0] if factor > 1 else torch.from_numpy(image)
    channels_last: NDArray[np.float32] = np.ascontiguousarray(small.permute(1, 2, 0).numpy())
    return channels_last


def _pool_to_grid(values: torch.Tensor, grid_size: tuple[int, int]) -> torch.Tensor:
    """Return the mean of each cell; values are interpolated if there are fewer values than cells."""
    if values.shape[2] >= grid_size[0] and values.shape[3] >= grid_size[1]:
        return functional.adaptive_avg_pool2d(values, grid_size)
    return functional.interpolate(values, size=grid_size, mode="bilinear", align_corners=False)


def _gaussian_blur(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return values convolved with a Gaussian of `sigma` cells, with reflection at the edges."""
    radius = min(int(3 * sigma + 0.5), *(side - 1 for side in values.shape[2:]))
    if radius < 1:
        return values
    weights = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(values.shape[1], 1, 1, -1)
    padded = functional.pad(values, (radius, radius, radius, radius), mode="reflect")
    rows = functional.conv2d(padded, weights, groups=values.shape[1])
    return functional.conv2d(rows, weights.transpose(2, 3), groups=values.shape[1])
