"""Denoise with an unconditional diffusion model in pixel space (diffusers' `UNet2DModel`)."""

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
from artgen.system.counts import counted

TILE_PX = 640
"""Side of a tile in pixels without its overlap, for networks without attention."""

TILE_OVERLAP_PX = 80
"""Context around a tile in pixels. With 64, tiles and the complete image differ by half a gray level."""

TILE_OVERLAP_FRACTION = 0.25
"""Overlap of adjacent tiles divided by the tile side, for networks with attention, whose tiles have the native size."""


@dataclass(frozen=True)
class PixelDenoiser:
    """Predict the posterior mean E[x0 | noisy image] with a network.

    Attributes:
        unet: network.
        norm_context: context of the local normalization layers; None if the network normalizes globally.
        schedule: noise levels that the network was trained for.
        tiling: division of an image into tiles.
        device_config: device and precision.
    """

    unet: Any
    norm_context: NormContext | None
    schedule: SigmaSchedule
    tiling: Tiling
    device_config: DeviceConfig

    @property
    def channels(self) -> int:
        """Return the number of image channels: 1 for gray models, 3 for color models."""
        return int(self.unet.config.in_channels)

    def with_smaller_tiles(self) -> "PixelDenoiser | None":
        """Return a copy with half the tile side; None if the tiles already have the minimum size."""
        if self.tiling.blend or self.tiling.tile_size <= self.tiling.min_side:
            return None
        return replace(self, tiling=replace(self.tiling, tile_size=self.tiling.tile_size // 2))

    @torch.inference_mode()
    def predict_x0(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        """Return the posterior mean of a tile.

        Args:
            noisy: shape (C, H, W), 0 to 255, float32; the output has the same shape and range.
            sigma: standard deviation of the noise in gray levels.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        level = NoiseLevel.from_sigma(sigma / PIXEL_HALF_RANGE)
        device, dtype = self.device_config.device, self.device_config.torch_dtype
        sample = torch.from_numpy(np.ascontiguousarray(noisy))[None].to(device) / PIXEL_HALF_RANGE - 1
        if self.norm_context is not None:
            self.norm_context.image_height_px = sample.shape[-2]
        timestep = torch.tensor(self.schedule.timestep(sigma), device=device)
        network_input = (sample * level.input_scale).to(dtype)
        model_output = self.unet(network_input, timestep).sample[:, : self.channels].float()  # without the variance
        x0 = predict_x0(model_output, sample, level, self.schedule.prediction_type)
        pixels: np.ndarray = (x0[0].add(1).mul(PIXEL_HALF_RANGE)).cpu().numpy()
        if not np.isfinite(pixels).all():
            raise NonFiniteError(
                "Cannot denoise the image: the model produced NaN or infinity.",
                "Use --dtype fp32, or check the model's files: artgen models verify",
            )
        return pixels


def load_pixel_denoiser(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> PixelDenoiser:
    """Return the cached or newly loaded denoiser of a model.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or the model is not an unconditional pixel model.
    """
    key = ("denoise", device_config)

    def load(listener: Listener) -> PixelDenoiser:
        return _load_uncached(model, device_config, listener)

    denoiser: PixelDenoiser = pipeline_cache.cached(key, model, device_config, load, listener)
    return denoiser


def _load_uncached(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> PixelDenoiser:
    schedule = sigma_schedule(read_scheduler_config(model.path), model.name)
    listener(Loading("unet"))
    unet = components.load_component(UNet2DModel, model, "unet", device_config).to(device_config.device)
    config = unet.config
    _check_config(config, model.name)
    size = min(_sample_sides(config.sample_size))
    stride = 2 ** (len(config.block_out_channels) - 1)
    size = -(-size // stride) * stride
    if _has_attention(unet):
        overlap = int(size * TILE_OVERLAP_FRACTION)
        tiling = Tiling(size_multiple=1, min_side=size, tile_size=size, overlap=overlap, blend=True)
        return PixelDenoiser(unet, None, schedule, tiling, device_config)
    # Tiles start at cells of the local statistics and at pixels of the coarsest level of the network.
    multiple = math.lcm(stride, max(1, size // 8))
    tile_size, overlap = (-(-pixels // multiple) * multiple for pixels in (TILE_PX, TILE_OVERLAP_PX))
    tiling = Tiling(multiple, size, tile_size, overlap)
    return PixelDenoiser(unet, use_local_group_norm(unet, size), schedule, tiling, device_config)


def _check_config(config: Any, model_name: str) -> None:
    if config.in_channels not in (1, 3) or config.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise ModelUnavailableError(
            f"Cannot denoise with '{model_name}': it is not a pixel model "
            f"({counted(config.in_channels, 'input channel')}, {counted(config.out_channels, 'output channel')}).",
            "Omit --model to use the bundled model.",
        )
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        raise ModelUnavailableError(
            f"Cannot denoise with '{model_name}': it is class-conditional.", "Use an unconditional model."
        )


def _sample_sides(sample_size: Any) -> tuple[int, ...]:
    return (sample_size,) if isinstance(sample_size, int) else tuple(sample_size or (64,))


def _has_attention(unet: Any) -> bool:
    return any("Attention" in type(module).__name__ for module in unet.modules())
