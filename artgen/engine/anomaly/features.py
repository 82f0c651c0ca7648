"""How a picture differs from its reconstruction, place by place: in pixels, in their changes, and in features.

All distances are logarithms of means of squares, so that a picture with less than the usual difference (a spot rubbed
smooth) stands out like one with more. Beside them stand signed differences of colour, which tell brighter from darker.
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
"""Pixels a side of the places that are compared, at least."""
MAX_GRID = 64
"""Places along the longer side, at most."""
MAX_FEATURE_PX = 512
"""Pixels a side at which features are compared; of larger pictures, a smaller copy."""

NUM_DISTANCES = 7
"""Of the channels of a level, the first: logarithms of squared distances. Three signed colours follow."""


@dataclass(frozen=True)
class FeatureMaps:
    """How one picture differs from its reconstructions.

    Attributes:
        maps: (channels, rows, columns), float32: for each level seven distances and three signed colours, and where
            there is a prompt the ratio.
        channels_per_level: channels of a level.
    """

    maps: NDArray[np.float32]
    channels_per_level: int

    @property
    def distances(self) -> NDArray[np.float32]:
        """(levels * 7, rows, columns): the distances alone."""
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.channels_per_level, rows, columns)
        return levels[:, :NUM_DISTANCES].reshape(-1, rows, columns)

    @property
    def likelihood_ratio(self) -> NDArray[np.float32] | None:
        """(levels, rows, columns): how much better each place is explained without the prompt; None without one."""
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.channels_per_level, rows, columns)
        return levels[:, -1] if self.channels_per_level == num_channels(has_prompt=True) else None


def num_channels(*, has_prompt: bool) -> int:
    """Of a level: distances, signed colours and, where there is a prompt, the ratio."""
    return NUM_DISTANCES + 3 + has_prompt


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of places for a picture of this size, each about square."""
    side = max(GRID_CELL_PX, max(height, width) / MAX_GRID)
    return max(1, round(height / side)), max(1, round(width / side))


@torch.inference_mode()
def compute_feature_maps(reconstructions: Sequence[LevelReconstruction], size: tuple[int, int]) -> FeatureMaps:
    """All levels of a picture of (height, width)."""
    places = grid_shape(*size)
    parts = [_level_maps(each, places) for each in reconstructions]
    return FeatureMaps(np.concatenate(parts), len(parts[0]))


def _level_maps(reconstruction: LevelReconstruction, grid_size: tuple[int, int]) -> NDArray[np.float32]:
    difference = torch.from_numpy(reconstruction.image - reconstruction.reconstruction)[None]
    squares = _pool_to_grid(difference.square().mean(1, keepdim=True), grid_size)
    across, down = (
        _pool_to_grid(functional.pad(difference.diff(dim=axis).square().mean(1, keepdim=True), edge), grid_size)
        for axis, edge in ((3, (0, 1)), (2, (0, 0, 0, 1)))
    )
    near = [
        _gaussian_blur(squares, 0.5),
        _gaussian_blur(squares, 1.5),
        _gaussian_blur(across, 0.75),
        _gaussian_blur(down, 0.75),
    ]
    maps = [torch.log(each + 1) for each in near]
    maps += [torch.log(_gaussian_blur(each, 0.75) + 1e-3) for each in _feature_distances(reconstruction, grid_size)]
    maps.append(_gaussian_blur(_pool_to_grid(difference, grid_size), 1.0))
    if reconstruction.likelihood_ratio is not None:
        maps.append(
            _gaussian_blur(
                _pool_to_grid(torch.from_numpy(reconstruction.likelihood_ratio)[None, None], grid_size), 0.75
            )
        )
    found: NDArray[np.float32] = torch.cat(maps, 1)[0].numpy()
    return found


def _feature_distances(reconstruction: LevelReconstruction, grid_size: tuple[int, int]) -> list[torch.Tensor]:
    """Squared differences of features of the bundled autoencoder's encoder, (1, 1, rows, columns) for each depth."""
    pair = [
        metrics.encoder_features(_downscale_for_features(each))
        for each in (reconstruction.image, reconstruction.reconstruction)
    ]
    return [
        _pool_to_grid((one - other).square().sum(1, keepdim=True), grid_size) for one, other in zip(*pair, strict=True)
    ]


def _downscale_for_features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width, 3), of at most 512 pixels a side."""
    times = -(-max(image.shape[1:]) // MAX_FEATURE_PX)
    small = functional.avg_pool2d(torch.from_numpy(image)[None], times)[0] if times > 1 else torch.from_numpy(image)
    seen: NDArray[np.float32] = np.ascontiguousarray(small.permute(1, 2, 0).numpy())
    return seen


def _pool_to_grid(values: torch.Tensor, grid_size: tuple[int, int]) -> torch.Tensor:
    """Means over places; between the values where there are fewer of them."""
    if values.shape[2] >= grid_size[0] and values.shape[3] >= grid_size[1]:
        return functional.adaptive_avg_pool2d(values, grid_size)
    return functional.interpolate(values, size=grid_size, mode="bilinear", align_corners=False)


def _gaussian_blur(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian over places, mirrored at the edges; its sum stays 1 there."""
    reach = min(int(3 * sigma + 0.5), *(side - 1 for side in values.shape[2:]))
    if reach < 1:
        return values
    weights = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(values.shape[1], 1, 1, -1)
    padded = functional.pad(values, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, weights, groups=values.shape[1])
    return functional.conv2d(across, weights.transpose(2, 3), groups=values.shape[1])
