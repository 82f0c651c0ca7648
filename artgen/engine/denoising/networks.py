"""An unconditional diffusion model of pixels (diffusers' `UNet2DModel`) as a remover of noise."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel

from artgen.engine import components, loading
from artgen.engine.denoising.levels import HALF_RANGE, Levels, read_levels
from artgen.engine.denoising.local_norm import Frame, localise
from artgen.engine.denoising.tiles import Tiling
from artgen.engine.device import Placement
from artgen.errors import ModelUnavailableError, NonFiniteError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, read_scheduler

TILE = 640
"""Pixels a side that one tile contributes, for networks without attention."""

HALO = 80
"""Pixels around a tile that the network sees too; with 64, tiles and the whole picture differ by half a grey level."""

OVERLAP = 0.25
"""Of neighbouring tiles, for networks with attention, which see each tile as a whole picture."""


@dataclass(frozen=True)
class Network:
    """A network that knows the mean of all clean pictures a noisy one may come from.

    Attributes:
        unet: the network.
        frame: tells its normalisation layers how large the picture is; None where they look at all of it.
        levels: the noise it knows.
        tiling: how it takes a picture.
        placement: where it runs.
    """

    unet: Any
    frame: Frame | None
    levels: Levels
    tiling: Tiling
    placement: Placement

    @property
    def channels(self) -> int:
        """1 for grey models, 3 for colour."""
        return int(self.unet.config.in_channels)

    def smaller(self) -> "Network | None":
        """The same with tiles half as large, None where they are as small as they can be."""
        if self.tiling.blended or self.tiling.tile <= self.tiling.least:
            return None
        return replace(self, tiling=replace(self.tiling, tile=self.tiling.tile // 2))

    @torch.inference_mode()
    def mean(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        """Tweedie's formula, y - sigma * epsilon, for one tile: (channels, height, width), 0 to 255, float32.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        amount = sigma / HALF_RANGE
        kept = 1 / math.sqrt(1 + amount**2)
        device, dtype = self.placement.device, self.placement.torch_dtype
        state = torch.from_numpy(np.ascontiguousarray(noisy))[None].to(device) / HALF_RANGE - 1
        if self.frame is not None:
            self.frame.height = state.shape[-2]
        time = torch.tensor(self.levels.timestep(sigma), device=device)
        said = self.unet((state * kept).to(dtype), time).sample[:, : self.channels].float()
        if self.levels.prediction == "sample":
            clean = said
        elif self.levels.prediction == "v_prediction":
            clean = kept**2 * state - kept * amount * said
        else:
            clean = state - amount * said
        pixels: np.ndarray = (clean[0].add(1).mul(HALF_RANGE)).cpu().numpy()
        if not np.isfinite(pixels).all():
            raise NonFiniteError(
                "The model produced NaN or infinity; nothing was written.",
                "Try --dtype fp32; the model itself may be damaged (`artgen models verify`).",
            )
        return pixels


def load(model: ResolvedModel, placement: Placement, listener: Listener) -> Network:
    """Reads a model, or takes the one read last.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or it is no unconditional model of pixels.
    """
    key = ("denoise", model.path, model.revision, placement)
    network: Network = loading.kept(key, model, lambda: _read(model, placement, listener))
    return network


def _read(model: ResolvedModel, placement: Placement, listener: Listener) -> Network:
    levels = read_levels(read_scheduler(model.path), model.name)
    listener(Loading("unet"))
    unet = components.read_component(UNet2DModel, model, "unet", placement).to(placement.device)
    config = unet.config
    if config.in_channels not in (1, 3) or config.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise ModelUnavailableError(
            f"{model.name} takes {config.in_channels} channels and gives {config.out_channels}; that is no model of "
            "pixels.",
            "Leave --model out for the bundled one.",
        )
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        raise ModelUnavailableError(
            f"{model.name} wants to be told what is in the picture.", "Use an unconditional model."
        )
    size = min(_sides(config.sample_size))
    stride = 2 ** (len(config.block_out_channels) - 1)
    size = -(-size // stride) * stride
    if _has_attention(unet):
        tiling = Tiling(multiple=1, least=size, tile=size, halo=int(size * OVERLAP), blended=True)
        return Network(unet, None, levels, tiling, placement)
    # Tiles begin where cells of the statistics do and where the network's coarsest pixels do.
    grid = math.lcm(stride, max(1, size // 8))
    tile, halo = (-(-pixels // grid) * grid for pixels in (TILE, HALO))
    return Network(unet, localise(unet, size), levels, Tiling(grid, size, tile, halo), placement)


def _sides(size: Any) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size or (64,))


def _has_attention(unet: Any) -> bool:
    return any("Attention" in type(module).__name__ for module in unet.modules())
