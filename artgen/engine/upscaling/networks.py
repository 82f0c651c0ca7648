"""Enlarge an image with an upscaling network, tile by tile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artgen import images
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.upscaling.loaded_networks import Network, Pixels, TileSettings, load_network
from artgen.engine.upscaling.tiles import TileGrid, blend_tiles
from artgen.errors import NonFiniteError, UsageError
from artgen.events import Listener
from artgen.registry.upscalers import Upscaler

OnTile = Callable[[int, int], None]

MIN_TILE_PX = 64


def _ignore_tile(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class EnlargeOptions:
    """Store how an image is enlarged.

    Attributes:
        size: width and height of the result; None is the size of the image times the scale of the network. Another
            size is computed from the result of the network with Lanczos.
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
        raise UsageError(f"A tile has at least {MIN_TILE_PX} pixels per side, not {options.tile_px}.", "--tile 256")
    network = load_network(upscaler, device_config, listener)
    height, width = image.shape[:2]
    padded = _pad(image, network)
    tile_px = -(-(options.tile_px or network.tile_px) // network.multiple) * network.multiple
    grid = TileGrid(
        padded.shape[1], padded.shape[0], tile_px, tile_px, network.blend, network.context, network.multiple
    )
    tiles = _iter_tiles(padded, grid, network, upscaler, options)
    result = blend_tiles(grid.scaled(upscaler.scale), tiles, is_16bit=image.dtype == np.uint16)
    enlarged = result[: height * upscaler.scale, : width * upscaler.scale]
    return enlarged if options.size is None else images.resize_lanczos(enlarged, options.size)


def _pad(image: Pixels, network: Network) -> Pixels:
    """Extend an image to the right and to the bottom by reflection."""
    padding = [(0, network.padding(side)) for side in image.shape[:2]]
    padded: Pixels = np.pad(image, [*padding, (0, 0)], mode=network.pad_mode)
    return padded


def _iter_tiles(
    image: Pixels, grid: TileGrid, network: Network, upscaler: Upscaler, options: EnlargeOptions
) -> Iterator[NDArray[np.float32]]:
    """Yield the enlarged tiles, 0 to the largest value of the image's dtype."""
    total, largest = grid.num_tiles, np.float32(np.iinfo(image.dtype).max)
    options.on_tile(0, total)
    for index, tile in enumerate(grid):
        report = lambda done=index: options.on_tile(done, total)  # noqa: E731
        pixels = network.predict(image[tile.span], TileSettings(index, options.seed, options.steps, report))
        if not np.isfinite(pixels).all():
            raise NonFiniteError(
                f"The upscaler '{upscaler.name}' returned NaN or infinity.",
                "Add --dtype fp32, or use another network.",
            )
        options.on_tile(index + 1, total)
        yield pixels.clip(0, 1) * largest
