"""Run a network on a large image in tiles, without visible seams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

TilePredictor = Callable[[np.ndarray], np.ndarray]
"""Map a tile (C, H, W) to an output of the same shape."""


@dataclass(frozen=True)
class Tiling:
    """Divide an image into tiles.

    Attributes:
        size_multiple: the sides of the network's input are multiples of this number of pixels.
        min_side: lower bound of the sides of the network's input, in pixels.
        tile_size: side of a tile in pixels, without its overlap.
        overlap: context around a tile in pixels; with `blend`, overlap of adjacent tiles.
        blend: True: average overlapping tiles with smooth weights, for networks that need complete images of their
            native size. False: crop the context off each output.
    """

    size_multiple: int
    min_side: int
    tile_size: int
    overlap: int
    blend: bool = False

    def num_tiles(self, height: int, width: int) -> int:
        """Return the number of network calls for an image of this size."""
        padded_height, padded_width = (self._padded_side(side) for side in (height, width))
        return len(self._tile_starts(padded_height)) * len(self._tile_starts(padded_width))

    def apply(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        """Return the network's output for an image of any size.

        Args:
            predict: called for each tile.
            image: shape (C, H, W); padded by reflection if necessary. The output has the same shape.
        """
        _, height, width = image.shape
        padded = pad_reflect(image, self._padded_side(height), self._padded_side(width))
        output = self._apply_blended(predict, padded) if self.blend else self._apply_cropped(predict, padded)
        return output[:, :height, :width]

    def _padded_side(self, side: int) -> int:
        return max(self.min_side, -(-side // self.size_multiple) * self.size_multiple)

    def _tile_starts(self, side: int) -> list[int]:
        if not self.blend:
            return list(range(0, side, self.tile_size))
        count = 1 + -(-max(0, side - self.tile_size) // (self.tile_size - self.overlap))
        return [round(i * (side - self.tile_size) / max(1, count - 1)) for i in range(count)]

    def _apply_cropped(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        _, height, width = image.shape
        output = np.empty_like(image)
        for rows, context_rows in _tile_spans(height, self):
            for columns, context_columns in _tile_spans(width, self):
                tile = predict(image[:, context_rows, context_columns])
                crop = tuple(
                    slice(part.start - context.start, part.stop - context.start)
                    for part, context in ((rows, context_rows), (columns, context_columns))
                )
                output[:, rows, columns] = tile[:, *crop]
        return output

    def _apply_blended(self, predict: TilePredictor, image: np.ndarray) -> np.ndarray:
        """Return the weighted mean of overlapping tiles; the weight is a raised cosine with its peak in the middle."""
        _, height, width = image.shape
        ramp = np.sin(np.pi * (np.arange(self.tile_size, dtype=np.float32) + 0.5) / self.tile_size) ** 2
        window = np.outer(ramp, ramp)
        total, weights = np.zeros_like(image), np.zeros((height, width), np.float32)
        for y in self._tile_starts(height):
            for x in self._tile_starts(width):
                span = (slice(y, y + self.tile_size), slice(x, x + self.tile_size))
                total[:, *span] += window * predict(image[:, *span])
                weights[span] += window
        return total / weights


def _tile_spans(side: int, tiling: Tiling) -> Iterator[tuple[slice, slice]]:
    """Yield the span of each tile along one side, and the span with its context."""
    for start in range(0, side, tiling.tile_size):
        stop = min(start + tiling.tile_size, side)
        context_start = max(0, min(start - tiling.overlap, side - tiling.min_side))
        yield slice(start, stop), slice(context_start, min(side, stop + tiling.overlap))


def pad_reflect(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image (C, h, w) that is extended to the right and to the bottom by repeated reflection."""
    padding = ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2]))
    # "reflect" omits the edge pixel, so it is not defined for a side of one pixel.
    mode = "reflect" if min(image.shape[1:]) > 1 else "symmetric"
    return np.pad(image, padding, mode=mode)  # type: ignore[call-overload, no-any-return]
