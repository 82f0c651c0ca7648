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

from artgen.engine import quality
from artgen.engine.anomalies.reconstructions import Reconstruction

CELL = 4
"""Pixels a side of the places that are compared, at least."""
MOST = 64
"""Places along the longer side, at most."""
SEEN = 512
"""Pixels a side at which features are compared; of larger pictures, a smaller copy."""

DISTANCES = 7
"""Of the channels of a level, the first: logarithms of squared distances. Three signed colours follow."""


@dataclass(frozen=True)
class Comparison:
    """How one picture differs from its reconstructions.

    Attributes:
        maps: (channels, rows, columns), float32: for each level seven distances and three signed colours, and where
            there is a prompt the ratio.
        per_level: channels of a level.
    """

    maps: NDArray[np.float32]
    per_level: int

    @property
    def distances(self) -> NDArray[np.float32]:
        """(levels * 7, rows, columns): the distances alone."""
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.per_level, rows, columns)
        return levels[:, :DISTANCES].reshape(-1, rows, columns)

    @property
    def ratio(self) -> NDArray[np.float32] | None:
        """(levels, rows, columns): how much better each place is explained without the prompt; None without one."""
        rows, columns = self.maps.shape[1:]
        levels = self.maps.reshape(-1, self.per_level, rows, columns)
        return levels[:, -1] if self.per_level == channels(prompted=True) else None


def channels(*, prompted: bool) -> int:
    """Of a level: distances, signed colours and, where there is a prompt, the ratio."""
    return DISTANCES + 3 + prompted


def grid(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of places for a picture of this size, each about square."""
    side = max(CELL, max(height, width) / MOST)
    return max(1, round(height / side)), max(1, round(width / side))


@torch.inference_mode()
def compare(levels: Sequence[Reconstruction], size: tuple[int, int]) -> Comparison:
    """All levels of a picture of (height, width)."""
    places = grid(*size)
    parts = [_level(each, places) for each in levels]
    return Comparison(np.concatenate(parts), len(parts[0]))


def _level(level: Reconstruction, places: tuple[int, int]) -> NDArray[np.float32]:
    difference = torch.from_numpy(level.picture - level.rebuilt)[None]
    squares = _pooled(difference.square().mean(1, keepdim=True), places)
    across, down = (
        _pooled(functional.pad(difference.diff(dim=axis).square().mean(1, keepdim=True), edge), places)
        for axis, edge in ((3, (0, 1)), (2, (0, 0, 0, 1)))
    )
    near = [_blurred(squares, 0.5), _blurred(squares, 1.5), _blurred(across, 0.75), _blurred(down, 0.75)]
    maps = [torch.log(each + 1) for each in near]
    maps += [torch.log(_blurred(each, 0.75) + 1e-3) for each in _features(level, places)]
    maps.append(_blurred(_pooled(difference, places), 1.0))
    if level.ratio is not None:
        maps.append(_blurred(_pooled(torch.from_numpy(level.ratio)[None, None], places), 0.75))
    found: NDArray[np.float32] = torch.cat(maps, 1)[0].numpy()
    return found


def _features(level: Reconstruction, places: tuple[int, int]) -> list[torch.Tensor]:
    """Squared differences of features of the bundled autoencoder's encoder, (1, 1, rows, columns) for each depth."""
    pair = [quality.features(_seen(each)) for each in (level.picture, level.rebuilt)]
    return [_pooled((one - other).square().sum(1, keepdim=True), places) for one, other in zip(*pair, strict=True)]


def _seen(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width, 3), of at most 512 pixels a side."""
    times = -(-max(picture.shape[1:]) // SEEN)
    small = functional.avg_pool2d(torch.from_numpy(picture)[None], times)[0] if times > 1 else torch.from_numpy(picture)
    seen: NDArray[np.float32] = np.ascontiguousarray(small.permute(1, 2, 0).numpy())
    return seen


def _pooled(values: torch.Tensor, places: tuple[int, int]) -> torch.Tensor:
    """Means over places; between the values where there are fewer of them."""
    if values.shape[2] >= places[0] and values.shape[3] >= places[1]:
        return functional.adaptive_avg_pool2d(values, places)
    return functional.interpolate(values, size=places, mode="bilinear", align_corners=False)


def _blurred(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian over places, mirrored at the edges; its sum stays 1 there."""
    reach = min(int(3 * sigma + 0.5), *(side - 1 for side in values.shape[2:]))
    if reach < 1:
        return values
    weights = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(values.shape[1], 1, 1, -1)
    padded = functional.pad(values, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, weights, groups=values.shape[1])
    return functional.conv2d(across, weights.transpose(2, 3), groups=values.shape[1])
