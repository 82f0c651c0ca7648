"""Divide an image into overlapping tiles, and blend processed tiles. This module does not import torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tile(NamedTuple):
    """Describe the position of a tile in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom, as in `Image.crop`."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def span(self) -> tuple[slice, slice]:
        """Return the slices of the rows and the columns of an array (H, W, C)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class TileGrid:
    """Divide an image into rows of overlapping tiles of one size.

    Two neighboring tiles are blended in a band of `overlap` pixels in the middle of the pixels that they share, so that
    the outermost pixels of a tile, for which a network has no context, have no weight.

    Attributes:
        width: width of the image in pixels.
        height: height of the image in pixels.
        tile_width: width of a tile in pixels; the image's width if the image is narrower.
        tile_height: height of a tile in pixels; the image's height if the image is lower.
        overlap: width of the blended band in pixels, at most a third of the sides of a tile.
        context: smallest number of pixels without weight beside a blended band; reduced for small tiles.
        multiple: the upper and left edges of the tiles are multiples of this number of pixels.
        pixel_side: side of an input pixel in pixels, if the image was enlarged by an integer factor. The inner tiles
            and the blended bands then start in the middle of an input pixel: between two input pixels the steps of the
            enlarged image are larger, and a border would add to them. A band can become narrower by one input pixel.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    overlap: int
    context: int = 0
    multiple: int = 1
    pixel_side: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "tile_width", min(self.tile_width, self.width))
        object.__setattr__(self, "tile_height", min(self.tile_height, self.height))
        side = min(self.tile_width, self.tile_height)
        object.__setattr__(self, "overlap", max(0, min(self.overlap, side // 3)))
        # The bands of three neighboring tiles must not overlap.
        limit = side // 2 - (3 * self.overlap + 1) // 2 - self.multiple
        object.__setattr__(self, "context", max(0, min(self.context, limit)))

    @cached_property
    def lefts(self) -> tuple[int, ...]:
        """Return the left edge of each column of tiles."""
        return self._starts(self.width, self.tile_width)

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """Return the upper edge of each row of tiles."""
        return self._starts(self.height, self.tile_height)

    @property
    def num_tiles(self) -> int:
        """Return the number of tiles."""
        return len(self.lefts) * len(self.tops)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles, row by row."""
        for top in self.tops:
            yield from self.row(top)

    def row(self, top: int) -> list[Tile]:
        """Return the tiles of the row with the upper edge `top`."""
        return [Tile(top, left, self.tile_height, self.tile_width) for left in self.lefts]

    def scaled(self, factor: int) -> "TileGrid":
        """Return the grid of the image that a network enlarges tile by tile. The tiles are in the same order."""
        grid = replace(
            self,
            width=self.width * factor,
            height=self.height * factor,
            tile_width=self.tile_width * factor,
            tile_height=self.tile_height * factor,
            overlap=self.overlap * factor,
            context=self.context * factor,
            multiple=self.multiple * factor,
        )
        grid.__dict__["lefts"] = tuple(left * factor for left in self.lefts)
        grid.__dict__["tops"] = tuple(top * factor for top in self.tops)
        return grid

    def _starts(self, side: int, tile_side: int) -> tuple[int, ...]:
        """Return the first pixel of each tile along one side.

        The distances differ by at most one pixel, or by at most one multiple, except for the last tile.
        """
        shared = min(self.overlap + 2 * self.context, tile_side - 1)
        longest = max(self.multiple, (tile_side - shared) // self.multiple * self.multiple)
        rest = side - tile_side
        count = 1 + -(-rest // longest)
        starts = [rest * index // max(1, count - 1) // self.multiple * self.multiple for index in range(count)]
        starts[-1] = rest
        inner = [_middle_of_pixel(start, self.pixel_side) for start in starts[1:-1]]
        shifted = (*starts[:1], *inner, *starts[1:][-1:])
        longest = tile_side - max(0, self.overlap - self.pixel_side)
        fits = all(second - first <= longest for first, second in pairwise(shifted))
        return shifted if fits and _are_separate(self._bands(shifted, tile_side, self.pixel_side)) else tuple(starts)

    def blended_bands(self, starts: tuple[int, ...], tile_side: int) -> list[tuple[int, int]]:
        """Return the first pixel and the width of the band between each two neighboring tiles along one side."""
        bands = self._bands(starts, tile_side, self.pixel_side)
        return bands if _are_separate(bands) else self._bands(starts, tile_side, 1)

    def _bands(self, starts: tuple[int, ...], tile_side: int, pixel_side: int) -> list[tuple[int, int]]:
        bands = []
        for first, second in pairwise(starts):
            end = first + tile_side
            width = max(0, min(self.overlap, end - second - pixel_side + 1))
            begin = _middle_of_pixel((first + second + tile_side - width) // 2, pixel_side)
            bands.append((begin if begin >= second else min(begin + pixel_side, end - width), width))
        return bands


def _middle_of_pixel(position: int, pixel_side: int) -> int:
    """Return the last middle of an input pixel at or before a position; every position if the side is 1."""
    return position - (position - pixel_side // 2) % pixel_side


def _are_separate(bands: list[tuple[int, int]]) -> bool:
    return all(begin + width <= following for (begin, width), (following, _) in pairwise(bands))


def blend_tiles(
    grid: TileGrid, tiles: Iterable[NDArray[Any]], channels: int = 3, *, is_16bit: bool = False
) -> NDArray[np.unsignedinteger]:
    """Return the image of processed tiles. Neighboring tiles are blended with cos^2 weights, whose sum is 1.

    Only the pixels of one row of tiles are in memory as float32.

    Args:
        grid: positions of the tiles.
        tiles: the tiles in the order of the grid, each of shape (tile_height, tile_width, channels), 0 to 255, or 0 to
            65535 for 16 bits. A tile is computed when it is needed.
        channels: number of channels.
        is_16bit: return uint16 instead of uint8.

    Returns:
        Array of shape (height, width, channels). With one tile, it contains the rounded values of the tile.
    """
    result = np.empty((grid.height, grid.width, channels), np.uint16 if is_16bit else np.uint8)
    column_weights = [weights[:, None] for weights in _weights(grid, grid.lefts, grid.tile_width)]
    row_weights = [weights[:, None, None] for weights in _weights(grid, grid.tops, grid.tile_height)]
    source = iter(tiles)
    band = np.zeros((grid.tile_height, grid.width, channels), np.float32)
    for index, top in enumerate(grid.tops):
        line = np.zeros_like(band)
        for left, weights in zip(grid.lefts, column_weights, strict=True):
            line[:, left : left + grid.tile_width] += next(source) * weights
        band += line * row_weights[index]
        done = (grid.tops[index + 1] if index + 1 < len(grid.tops) else grid.height) - top
        result[top : top + done] = np.rint(band[:done]).clip(0, 65535 if is_16bit else 255)
        band[:-done] = band[done:]
        band[-done:] = 0
    return result


def _weights(grid: TileGrid, starts: tuple[int, ...], tile_side: int) -> list[NDArray[np.float32]]:
    """Return the weights of the pixels of each tile along one side."""
    weights = [np.ones(tile_side, np.float32) for _ in starts]
    for index, (begin, width) in enumerate(grid.blended_bands(starts, tile_side)):
        phase = (np.arange(width, dtype=np.float32) + 0.5) / max(1, width)
        ramp = np.cos(phase * np.float32(np.pi / 2)) ** 2
        first, second = starts[index : index + 2]
        weights[index][begin - first :] = 0
        weights[index][begin - first : begin - first + width] = ramp
        weights[index + 1][: begin - second] = 0
        weights[index + 1][begin - second : begin - second + width] = 1 - ramp
    return weights
