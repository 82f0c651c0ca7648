"""A large picture in tiles that fit into memory, without seams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

TilePredictor = Callable[[np.ndarray], np.ndarray]
"""(channels, height, width) -> the same shape."""


@dataclass(frozen=True)
class Tiling:
    """How a network takes a picture.

    Attributes:
        size_multiple: sides have to be divisible by so many pixels.
        min_side: pixels a side at least.
        tile_size: pixels a side of the part that a tile contributes.
        overlap: pixels around it that the network sees too.
        blend: tiles overlap and fade into each other, for networks that see each tile as a whole picture.
    """

    size_multiple: int
    min_side: int
    tile_size: int
    overlap: int
    blend: bool = False

    def num_tiles(self, height: int, width: int) -> int:
        """Calls of the network for a picture of this size."""
        high, wide = (self._padded_side(side) for side in (height, width))
        return len(self._tile_starts(high)) * len(self._tile_starts(wide))

    def apply(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        """`predict` over a picture of any size, (channels, height, width): padded by reflection, in tiles, cut back."""
        _, height, width = image.shape
        padded = pad_reflect(image, self._padded_side(height), self._padded_side(width))
        whole = self._apply_blended(predict, padded) if self.blend else self._apply_cropped(predict, padded)
        return whole[:, :height, :width]

    def _padded_side(self, side: int) -> int:
        return max(self.min_side, -(-side // self.size_multiple) * self.size_multiple)

    def _tile_starts(self, side: int) -> list[int]:
        if not self.blend:
            return list(range(0, side, self.tile_size))
        count = 1 + -(-max(0, side - self.tile_size) // (self.tile_size - self.overlap))
        return [round(i * (side - self.tile_size) / max(1, count - 1)) for i in range(count)]

    def _apply_cropped(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        """Each tile, seen with its halo, is put beside the others."""
        _, height, width = image.shape
        result = np.empty_like(image)
        for rows, seen_rows in _tile_spans(height, self):
            for columns, seen_columns in _tile_spans(width, self):
                found = predict(image[:, seen_rows, seen_columns])
                inside = tuple(
                    slice(part.start - seen.start, part.stop - seen.start)
                    for part, seen in ((rows, seen_rows), (columns, seen_columns))
                )
                result[:, rows, columns] = found[:, *inside]
        return result

    def _apply_blended(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        """Tiles fade into each other with a weight that is largest in their middle (a raised cosine)."""
        _, height, width = image.shape
        ramp = np.sin(np.pi * (np.arange(self.tile_size, dtype=np.float32) + 0.5) / self.tile_size) ** 2
        window = np.outer(ramp, ramp)
        total, weights = np.zeros_like(image), np.zeros((height, width), np.float32)
        for y in self._tile_starts(height):
            for x in self._tile_starts(width):
                here = (slice(y, y + self.tile_size), slice(x, x + self.tile_size))
                total[:, *here] += window * predict(image[:, *here])
                weights[here] += window
        return total / weights


def _tile_spans(side: int, tiling: Tiling) -> Iterator[tuple[slice, slice]]:
    """What each tile contributes along one side, and what it sees."""
    for start in range(0, side, tiling.tile_size):
        stop = min(start + tiling.tile_size, side)
        first = max(0, min(start - tiling.overlap, side - tiling.min_side))
        yield slice(start, stop), slice(first, min(side, stop + tiling.overlap))


def pad_reflect(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(channels, h, w) extended to the right and below, mirrored again where the picture is smaller than that."""
    more = ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2]))
    # Repeats the only row or column there is: nothing lies beyond it to mirror.
    mode = "reflect" if min(image.shape[1:]) > 1 else "symmetric"
    return np.pad(image, more, mode=mode)  # type: ignore[call-overload, no-any-return]
