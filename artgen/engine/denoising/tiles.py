"""A large picture in tiles that fit into memory, without seams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
"""(channels, height, width) -> the same shape."""


@dataclass(frozen=True)
class Tiling:
    """How a network takes a picture.

    Attributes:
        multiple: sides have to be divisible by so many pixels.
        least: pixels a side at least.
        tile: pixels a side of the part that a tile contributes.
        halo: pixels around it that the network sees too.
        blended: tiles overlap and fade into each other, for networks that see each tile as a whole picture.
    """

    multiple: int
    least: int
    tile: int
    halo: int
    blended: bool = False

    def count(self, height: int, width: int) -> int:
        """Calls of the network for a picture of this size."""
        high, wide = (self._padded(side) for side in (height, width))
        return len(self._starts(high)) * len(self._starts(wide))

    def run(self, predict: Predict, picture: np.ndarray) -> np.ndarray:
        """`predict` over a picture of any size, (channels, height, width): padded by reflection, in tiles, cut back."""
        _, height, width = picture.shape
        padded = reflect(picture, self._padded(height), self._padded(width))
        whole = self._blend(predict, padded) if self.blended else self._place(predict, padded)
        return whole[:, :height, :width]

    def _padded(self, side: int) -> int:
        return max(self.least, -(-side // self.multiple) * self.multiple)

    def _starts(self, side: int) -> list[int]:
        if not self.blended:
            return list(range(0, side, self.tile))
        count = 1 + -(-max(0, side - self.tile) // (self.tile - self.halo))
        return [round(i * (side - self.tile) / max(1, count - 1)) for i in range(count)]

    def _place(self, predict: Predict, picture: np.ndarray) -> np.ndarray:
        """Each tile, seen with its halo, is put beside the others."""
        _, height, width = picture.shape
        result = np.empty_like(picture)
        for rows, seen_rows in _spans(height, self):
            for columns, seen_columns in _spans(width, self):
                found = predict(picture[:, seen_rows, seen_columns])
                inside = tuple(
                    slice(part.start - seen.start, part.stop - seen.start)
                    for part, seen in ((rows, seen_rows), (columns, seen_columns))
                )
                result[:, rows, columns] = found[:, *inside]
        return result

    def _blend(self, predict: Predict, picture: np.ndarray) -> np.ndarray:
        """Tiles fade into each other with a weight that is largest in their middle (a raised cosine)."""
        _, height, width = picture.shape
        ramp = np.sin(np.pi * (np.arange(self.tile, dtype=np.float32) + 0.5) / self.tile) ** 2
        window = np.outer(ramp, ramp)
        total, weights = np.zeros_like(picture), np.zeros((height, width), np.float32)
        for y in self._starts(height):
            for x in self._starts(width):
                here = (slice(y, y + self.tile), slice(x, x + self.tile))
                total[:, *here] += window * predict(picture[:, *here])
                weights[here] += window
        return total / weights


def _spans(side: int, tiling: Tiling) -> Iterator[tuple[slice, slice]]:
    """What each tile contributes along one side, and what it sees."""
    for start in range(0, side, tiling.tile):
        stop = min(start + tiling.tile, side)
        first = max(0, min(start - tiling.halo, side - tiling.least))
        yield slice(start, stop), slice(first, min(side, stop + tiling.halo))


def reflect(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(channels, h, w) extended to the right and below, mirrored again where the picture is smaller than that."""
    more = ((0, 0), (0, height - picture.shape[1]), (0, width - picture.shape[2]))
    # Repeats the only row or column there is: nothing lies beyond it to mirror.
    mode = "reflect" if min(picture.shape[1:]) > 1 else "symmetric"
    return np.pad(picture, more, mode=mode)  # type: ignore[call-overload, no-any-return]
