"""Test overlapping tiles: they cover the image, their weights add up to 1, and blending keeps unchanged pixels."""

import numpy as np
import pytest

from artgen import images
from artgen.engine.upscaling.tiles import TileGrid, blend_tiles


@pytest.mark.parametrize(
    ("width", "height", "tile", "overlap"),
    [(128, 128, 128, 32), (129, 64, 64, 16), (300, 200, 64, 21), (60, 500, 128, 32), (511, 257, 128, 0)],
)
@pytest.mark.parametrize("is_16bit", [False, True])
def test_blending_unchanged_tiles_gives_the_image(
    width: int, height: int, tile: int, overlap: int, is_16bit: bool
) -> None:
    grid = TileGrid(width, height, tile, tile, overlap)
    dtype = np.uint16 if is_16bit else np.uint8
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)
    result = blend_tiles(grid, (pixels[each.span] for each in grid), is_16bit=is_16bit)
    assert result.dtype == dtype
    assert np.abs(result.astype(int) - pixels).max() <= is_16bit  # float32 has 24 bits
    enlarged = np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)
    doubled = grid.scaled(2)
    result = blend_tiles(doubled, (enlarged[each.span] for each in doubled), is_16bit=is_16bit)
    assert np.abs(result.astype(int) - enlarged).max() <= is_16bit


@pytest.mark.parametrize(("side", "tile", "overlap"), [(256, 128, 32), (512, 128, 32), (384, 96, 24), (300, 64, 21)])
@pytest.mark.parametrize("pixel_side", [2, 3, 4])
def test_borders_are_in_the_middle_of_an_input_pixel(side: int, tile: int, overlap: int, pixel_side: int) -> None:
    grid = TileGrid(side, side, tile, tile, overlap, pixel_side=pixel_side)
    assert grid.num_tiles == TileGrid(side, side, tile, tile, overlap).num_tiles
    begins = [begin for begin, _ in grid.blended_bands(grid.lefts, tile)]
    assert {position % pixel_side for position in (*grid.lefts[1:-1], *begins)} == {pixel_side // 2}
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert (blend_tiles(grid, (pixels[each.span] for each in grid)) == pixels).all()


def test_tiles_without_overlap_cover_an_enlarged_image() -> None:
    for side, tile, overlap, pixel_side in ((192, 64, 0, 2), (211, 64, 1, 4), (90, 32, 10, 8), (128, 64, 0, 2)):
        grid = TileGrid(side, side, tile, tile, overlap, pixel_side=pixel_side)
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        assert (blend_tiles(grid, (pixels[each.span] for each in grid)) == pixels).all()


def test_transition_between_two_tiles_is_the_cos2_ramp() -> None:
    grid = TileGrid(112, 64, 64, 64, 16)
    assert [each.left for each in grid] == [0, 48]
    tiles = [np.full((64, 64, 1), value, np.float32) for value in (0, 255)]
    line = blend_tiles(grid, tiles, channels=1)[10, :, 0]
    ramp = 255 * np.sin((np.arange(16) + 0.5) / 16 * np.pi / 2) ** 2
    assert (line[:48] == 0).all()
    assert (line[64:] == 255).all()
    assert np.abs(line[48:64] - ramp).max() <= 0.5


def test_16_bit_values_are_resized_exactly_as_float() -> None:
    pixels = np.random.default_rng(0).integers(20000, 45000, (20, 30, 4), np.uint16)
    for size in ((60, 40), (15, 10)):
        result = images.resize_lanczos(pixels, size)
        assert (result.dtype, result.shape) == (np.uint16, (size[1], size[0], 4))
        coarse = images.resize_lanczos((pixels >> 8).astype(np.uint8)[..., :3], size)
        assert np.abs((result[..., :3] >> 8).astype(int) - coarse).max() <= 2
    flat = np.full((5, 5), 12345, np.uint16)
    assert (images.resize_lanczos(flat, (11, 11)) == 12345).all()
