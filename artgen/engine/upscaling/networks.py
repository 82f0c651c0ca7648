"""Enlarge an image with an upscaling network, tile by tile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artgen import images
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.upscaling.loaded_networks import Network, Pixels, TileSettings, load_network
from artgen.engine.upscaling.tiles import TileGrid, blend_tiles
from artgen.errors import NonFiniteError, UsageError
from artgen.events import Listener
from artgen.registry.upscalers import Upscaler, input_sizes

OnTile = Callable[[int, int], None]

MIN_TILE_PX = 64
STRIP_PX = 256
LANCZOS_RADIUS = 3
"""Radius of the filter of Pillow, in pixels of the result of a reduction."""


def _ignore_tile(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class EnlargeOptions:
    """Store how an image is enlarged.

    Attributes:
        size: width and height of the result; None is the size of the image times the scale of the network. For a
            larger size, the network runs several times; another size is computed from its result with Lanczos.
        tile_px: side of a tile of the input in pixels, with its overlap; None is the default of the network.
        seed: seed of a diffusion network.
        steps: denoising steps of a diffusion network; None is its default.
        on_tile: called before the first tile and after each tile with the numbers of finished and of all tiles, and
            after each denoising step. It may raise KeyboardInterrupt.
    """

    size: tuple[int, int] | None = None
    tile_px: int | None = None
    seed: int = 0
    steps: int | None = None
    on_tile: OnTile = _ignore_tile


def enlarge(
    image: Pixels,
    upscaler: Upscaler,
    device_config: DeviceConfig,
    listener: Listener,
    options: EnlargeOptions = EnlargeOptions(),
) -> Pixels:
    """Return an enlarged image.

    An image that fits in one tile is passed to the network in one call. Only the pixels of one row of tiles are in
    memory as float32.

    Args:
        image: RGB, shape (H, W, 3), uint8 or uint16. The result has the same dtype.
        upscaler: network with all files on the disk.
        device_config: device and dtype of the network.
        listener: receives the event of the loading.
        options: size of the result, tiles, and settings of diffusion networks.

    Raises:
        UsageError: a tile is too small.
        ModelUnavailableError: the network is damaged.
        NonFiniteError: the network returned NaN or infinity.
    """
    if options.tile_px is not None and options.tile_px < MIN_TILE_PX:
        raise UsageError(
            f"A tile has at least {MIN_TILE_PX} pixels per side, not {options.tile_px}.", f"Use {MIN_TILE_PX} pixels."
        )
    network = load_network(upscaler, device_config, listener)
    sizes = input_sizes((image.shape[1], image.shape[0]), upscaler.scale, options.size)
    grids = [_grid(size, network, options.tile_px) for size in sizes]
    total, done = sum(grid.num_tiles for grid in grids), 0
    options.on_tile(0, total)
    for size, grid in zip(sizes, grids, strict=True):
        progress = _Progress(options, done, total)
        image = _enlarge_once(images.resize_lanczos(image, size), upscaler, network, grid, progress)
        done += grid.num_tiles
    return image if options.size is None else _resize(image, options.size)


def _resize(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an image in another size, resampled with Lanczos.

    A reduction by a whole number, such as by 2 after a network with the scale 4, is computed strip by strip:
    Pillow copies its input to 4 bytes per pixel. The pixels are equal. With other factors, rounding would differ.
    """
    factor = image.shape[0] // size[1]
    is_whole = image.shape[:2] == (size[1] * factor, size[0] * factor)
    if factor < 2 or not is_whole or image.dtype != np.uint8:
        return images.resize_lanczos(image, size)
    resized = np.empty((size[1], size[0], image.shape[2]), image.dtype)
    margin = LANCZOS_RADIUS * factor
    for top in range(0, size[1], STRIP_PX):
        bottom = min(top + STRIP_PX, size[1])
        start, stop = max(0, top * factor - margin), min(image.shape[0], bottom * factor + margin)
        box = (0, top * factor - start, image.shape[1], bottom * factor - start)
        strip = Image.fromarray(image[start:stop])
        resized[top:bottom] = np.asarray(strip.resize((size[0], bottom - top), Image.Resampling.LANCZOS, box=box))
    return resized


class _Progress(NamedTuple):
    """Store the options of the call, and the numbers of the tiles of earlier passes and of all tiles."""

    options: EnlargeOptions
    done: int
    total: int


def _grid(size: tuple[int, int], network: Network, tile_px: int | None) -> TileGrid:
    """Return the tiles of an image of this size after its padding."""
    width, height = (side + network.padding(side) for side in size)
    side = -(-(tile_px or network.tile_px) // network.multiple) * network.multiple
    return TileGrid(width, height, side, side, network.blend, network.context, network.multiple)


def _enlarge_once(image: Pixels, upscaler: Upscaler, network: Network, grid: TileGrid, progress: _Progress) -> Pixels:
    """Return the image enlarged by the scale of the network."""
    height, width = image.shape[:2]
    tiles = _iter_tiles(_pad(image, network), grid, network, upscaler, progress)
    result = blend_tiles(grid.scaled(upscaler.scale), tiles, is_16bit=image.dtype == np.uint16)
    return result[: height * upscaler.scale, : width * upscaler.scale]


def _pad(image: Pixels, network: Network) -> Pixels:
    """Extend an image to the right and to the bottom by reflection."""
    padding = [(0, network.padding(side)) for side in image.shape[:2]]
    padded: Pixels = np.pad(image, [*padding, (0, 0)], mode=network.pad_mode)
    return padded


def _iter_tiles(
    image: Pixels, grid: TileGrid, network: Network, upscaler: Upscaler, progress: _Progress
) -> Iterator[NDArray[np.float32]]:
    """Yield the enlarged tiles, 0 to the largest value of the image's dtype."""
    options, largest = progress.options, np.float32(np.iinfo(image.dtype).max)
    for index, tile in enumerate(grid):
        done = progress.done + index
        report = lambda done=done: options.on_tile(done, progress.total)  # noqa: E731
        pixels = network.predict(image[tile.span], TileSettings(done, options.seed, options.steps, report))
        if not np.isfinite(pixels).all():
            raise NonFiniteError(
                f"The upscaler '{upscaler.name}' returned NaN or infinity.",
                "Add --dtype fp32, or use another network.",
            )
        options.on_tile(done + 1, progress.total)
        yield pixels.clip(0, 1) * largest
