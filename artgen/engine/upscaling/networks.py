"""Enlarge an image with an upscaling network, tile by tile."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artgen.engine.loading.device import DeviceConfig
from artgen.events import Listener
from artgen.registry.upscalers import Upscaler

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
OnTile = Callable[[int, int], None]


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
        on_tile: called before the first tile and after each tile with the numbers of finished and of all tiles. It may
            raise KeyboardInterrupt.
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

    An image that fits in one tile is passed to the network in one call.

    Args:
        image: RGB, shape (H, W, 3), uint8 or uint16. The result has the same dtype.
        upscaler: network with all files on the disk.
        device_config: device and dtype of the network.
        listener: receives the event of the loading.
        options: size of the result, tiles, and settings of diffusion networks.

    Raises:
        ModelUnavailableError: the network is damaged.
        NonFiniteError: the network returned NaN or infinity.
    """
    raise NotImplementedError
