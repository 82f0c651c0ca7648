"""An unconditional diffusion model of pixels (diffusers' `UNet2DModel`) as a remover of noise."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel

from artgen.engine.denoise.local_group_norm import NormContext, use_local_group_norm
from artgen.engine.denoise.tiling import Tiling
from artgen.engine.diffusion.noise_schedule import NoiseLevel, predict_x0
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE, SigmaSchedule, sigma_schedule
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError, NonFiniteError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, read_scheduler_config

TILE_PX = 640
"""Pixels a side that one tile contributes, for networks without attention."""

TILE_OVERLAP_PX = 80
"""Pixels around a tile that the network sees too; with 64, tiles and the whole picture differ by half a grey level."""

TILE_OVERLAP_FRACTION = 0.25
"""Of neighbouring tiles, for networks with attention, which see each tile as a whole picture."""


@dataclass(frozen=True)
class PixelDenoiser:
    """A network that knows the mean of all clean pictures a noisy one may come from.

    Attributes:
        unet: the network.
        norm_context: tells its normalisation layers how large the picture is; None where they look at all of it.
        schedule: the noise it knows.
        tiling: how it takes a picture.
        device_config: where it runs.
    """

    unet: Any
    norm_context: NormContext | None
    schedule: SigmaSchedule
    tiling: Tiling
    device_config: DeviceConfig

    @property
    def channels(self) -> int:
        """1 for grey models, 3 for colour."""
        return int(self.unet.config.in_channels)

    def with_smaller_tiles(self) -> "PixelDenoiser | None":
        """The same with tiles half as large, None where they are as small as they can be."""
        if self.tiling.blend or self.tiling.tile_size <= self.tiling.min_side:
            return None
        return replace(self, tiling=replace(self.tiling, tile_size=self.tiling.tile_size // 2))

    @torch.inference_mode()
    def predict_x0(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        """Tweedie's formula, y - sigma * epsilon, for one tile: (channels, height, width), 0 to 255, float32.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        level = NoiseLevel.from_sigma(sigma / PIXEL_HALF_RANGE)
        device, dtype = self.device_config.device, self.device_config.torch_dtype
        state = torch.from_numpy(np.ascontiguousarray(noisy))[None].to(device) / PIXEL_HALF_RANGE - 1
        if self.norm_context is not None:
            self.norm_context.image_height_px = state.shape[-2]
        timestep = torch.tensor(self.schedule.timestep(sigma), device=device)
        network_input = (state * level.input_scale).to(dtype)
        model_output = self.unet(network_input, timestep).sample[:, : self.channels].float()
        x0 = predict_x0(model_output, state, level, self.schedule.prediction_type)
        pixels: np.ndarray = (x0[0].add(1).mul(PIXEL_HALF_RANGE)).cpu().numpy()
        if not np.isfinite(pixels).all():
            raise NonFiniteError(
                "The model produced NaN or infinity; nothing was written.",
                "Try --dtype fp32; the model itself may be damaged (`artgen models verify`).",
            )
        return pixels


def load_pixel_denoiser(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> PixelDenoiser:
    """Reads a model, or takes the one read last.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or it is no unconditional model of pixels.
    """
    key = ("denoise", model.path, model.revision, device_config)
    network: PixelDenoiser = pipeline_cache.cached(key, model, lambda: _load_uncached(model, device_config, listener))
    return network


def _load_uncached(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> PixelDenoiser:
    levels = sigma_schedule(read_scheduler_config(model.path), model.name)
    listener(Loading("unet"))
    unet = components.load_component(UNet2DModel, model, "unet", device_config).to(device_config.device)
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
    size = min(_sample_sides(config.sample_size))
    stride = 2 ** (len(config.block_out_channels) - 1)
    size = -(-size // stride) * stride
    if _has_attention(unet):
        tiling = Tiling(
            size_multiple=1, min_side=size, tile_size=size, overlap=int(size * TILE_OVERLAP_FRACTION), blend=True
        )
        return PixelDenoiser(unet, None, levels, tiling, device_config)
    # Tiles begin where cells of the statistics do and where the network's coarsest pixels do.
    grid = math.lcm(stride, max(1, size // 8))
    tile, halo = (-(-pixels // grid) * grid for pixels in (TILE_PX, TILE_OVERLAP_PX))
    return PixelDenoiser(unet, use_local_group_norm(unet, size), levels, Tiling(grid, size, tile, halo), device_config)


def _sample_sides(sample_size: Any) -> tuple[int, ...]:
    return (sample_size,) if isinstance(sample_size, int) else tuple(sample_size or (64,))


def _has_attention(unet: Any) -> bool:
    return any("Attention" in type(module).__name__ for module in unet.modules())
