"""Load upscaling networks, cache them like models, and enlarge one tile with a network."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.loaded_parts import cached_part
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.engine.upscaling.esrgan import load_esrgan, receptive_radius
from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry.diffusers_folder import select_weights
from artgen.registry.upscalers import Upscaler
from artgen.registry.upscalers.upscaler import SD_LATENT_UPSCALE, SWIN2SR

Pixels = NDArray[np.unsignedinteger]

NETWORK_TILE_PX = 256
"""Default side of a tile of a feed-forward network. RRDBNet with the scale 4 then needs 0.8 GiB for activations."""
BLEND_PX = 16
MAX_EXACT_CONTEXT_PX = 40
"""Largest receptive radius that tiles contain as context; then the result does not depend on the tiles."""
CONTEXT_PX = 24
"""Context of networks with a larger receptive radius, whose distant pixels have little effect."""
SWIN2SR_PAD_PX = 8
"""Multiple of the sides to which the image processor of Swin2SR pads an image."""
SD_TILE_PX = 128
"""Default side of a tile of the x4 diffusion pipeline, which was trained on this size."""
SD_LATENT_TILE_PX = 512
SD_LATENT_MULTIPLE = 64
DEFAULT_STEPS = 30
NOISE_LEVEL = 20
"""Noise level that the x4 pipeline adds to the image: the default of diffusers."""


@dataclass(frozen=True)
class TileSettings:
    """Store what a network needs besides the pixels of a tile.

    Attributes:
        index: number of the tile, counted from 0.
        seed: seed of the image. A tile of a diffusion network uses the sum of the seed and the index.
        steps: denoising steps of a diffusion network; None is `DEFAULT_STEPS`.
        on_step: called after each denoising step; it may raise KeyboardInterrupt.
    """

    index: int = 0
    seed: int = 0
    steps: int | None = None
    on_step: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class FeedForwardNetwork:
    """Run a network of the ESRGAN family or Swin2SR.

    Attributes:
        module: network in evaluation mode.
        device_config: device and dtype of the network.
        multiple: the sides of a padded image, and the edges of tiles, are multiples of this number of pixels.
        context: pixels at the edge of a tile that have no weight.
        is_swin2sr: whether the module is a Swin2SR of transformers.
        tile_px: default side of a tile in pixels of the input.
        blend: width of the band in which tiles are blended, in pixels of the input.
    """

    module: Any
    device_config: DeviceConfig
    multiple: int
    context: int
    is_swin2sr: bool
    tile_px: int = NETWORK_TILE_PX
    blend: int = BLEND_PX

    @property
    def pad_mode(self) -> Literal["reflect", "symmetric"]:
        """Return the mode of the image processor of Swin2SR, and of Real-ESRGAN."""
        return "symmetric" if self.is_swin2sr else "reflect"

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        return {"model": self.module}

    def padding(self, side: int) -> int:
        """Return the number of pixels that are added to a side of the complete image.

        The image processor of Swin2SR always adds 1 to 8 pixels.
        """
        if self.is_swin2sr:
            return SWIN2SR_PAD_PX - side % SWIN2SR_PAD_PX
        return -side % self.multiple

    def predict(self, tile: Pixels, settings: TileSettings) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the enlarged tile, shape (h, w, 3), 0 to 1."""
        config = self.device_config
        # As in the image processors of transformers, the factor is applied in float64.
        values = (tile * (1 / np.iinfo(tile.dtype).max)).astype(np.float32)
        inputs = torch.from_numpy(values).permute(2, 0, 1)[None].to(config.device, config.torch_dtype)
        with torch.inference_mode():
            outputs = self.module(inputs)
            enlarged = (outputs.reconstruction if self.is_swin2sr else outputs)[0]
        pixels: NDArray[np.float32] = enlarged.permute(1, 2, 0).float().cpu().numpy()
        return pixels


@dataclass(frozen=True)
class DiffusionNetwork:
    """Run a diffusion pipeline with an empty prompt and without guidance.

    Attributes:
        pipe: pipeline of diffusers.
        is_latent: whether the pipeline enlarges latents by 2; else it enlarges the image by 4.
        blend: width of the band in which tiles are blended, in pixels of the input.
        pad_mode: mode of `numpy.pad` that extends the complete image.
    """

    pipe: Any
    is_latent: bool
    blend: int
    pad_mode: Literal["reflect", "symmetric"] = "reflect"

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        components: dict[str, Any] = self.pipe.components
        return components

    @property
    def tile_px(self) -> int:
        """Return the default side of a tile."""
        return SD_LATENT_TILE_PX if self.is_latent else SD_TILE_PX

    @property
    def multiple(self) -> int:
        """Return the factor of the sides: the UNet halves them several times."""
        return SD_LATENT_MULTIPLE if self.is_latent else 2 ** (len(self.pipe.unet.config.block_out_channels) - 1)

    @property
    def context(self) -> int:
        """Return 0: the tiles are blended in the complete band that they share."""
        return 0

    def padding(self, side: int) -> int:
        """Return the number of pixels that are added to a side of the complete image."""
        return -side % self.multiple

    def predict(self, tile: Pixels, settings: TileSettings) -> NDArray[np.float32]:
        """Return the enlarged tile, shape (h, w, 3), 0 to 1."""
        arguments = {} if self.is_latent else {"noise_level": NOISE_LEVEL}
        with pipeline_cache.silence_libraries():
            self.pipe.set_progress_bar_config(disable=True)
            result = self.pipe(
                prompt="",
                image=_pipeline_input(tile),
                num_inference_steps=settings.steps or DEFAULT_STEPS,
                guidance_scale=0.0,
                generator=torch.Generator("cpu").manual_seed(settings.seed + settings.index),
                output_type="np",
                callback=lambda *_: settings.on_step(),
                **arguments,
            )
        pixels: NDArray[np.float32] = result.images[0]
        return pixels


def _pipeline_input(tile: Pixels) -> Any:
    """Return a tile as an image, or as a tensor if it has 16 bits per channel, which Pillow does not support."""
    if tile.dtype == np.uint8:
        return Image.fromarray(tile)
    return torch.from_numpy(tile.astype(np.float32) / np.iinfo(tile.dtype).max).permute(2, 0, 1)[None]


Network = FeedForwardNetwork | DiffusionNetwork


def load_network(upscaler: Upscaler, device_config: DeviceConfig, listener: Listener) -> Network:
    """Load a network, or reuse the loaded one.

    Args:
        upscaler: network with all files on the disk.
        device_config: device and dtype of the network.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the network is damaged.
    """
    if not upscaler.files:
        raise ValueError("the upscaler is not downloaded")

    def load() -> Network:
        listener(Loading("upscaler"))
        return _load(upscaler, device_config)

    key = ("upscaler", upscaler.class_name)
    entry = cached_part(key, upscaler.identities, upscaler.name, load, device_config)
    entry.active = False
    loaded: Network = entry.value
    return loaded


def _load(upscaler: Upscaler, device_config: DeviceConfig) -> Network:
    try:
        with pipeline_cache.silence_libraries():
            if upscaler.is_diffusion:
                return _load_pipeline(upscaler, device_config)
            if upscaler.class_name == SWIN2SR:
                return _load_swin2sr(upscaler, device_config)
            module = load_esrgan(upscaler, device_config.torch_dtype).to(device_config.device)
    except ArtgenError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _load_error(upscaler, first_line(error).rstrip(".")) from error
    multiple = upscaler.config.get("unshuffle", 1)
    radius = receptive_radius(upscaler)
    context = radius if radius <= MAX_EXACT_CONTEXT_PX else CONTEXT_PX
    return FeedForwardNetwork(module, device_config, multiple, -(-context // multiple) * multiple, is_swin2sr=False)


def _load_swin2sr(upscaler: Upscaler, device_config: DeviceConfig) -> Network:
    module, report = transformers.Swin2SRForImageSuperResolution.from_pretrained(
        upscaler.path,
        dtype=device_config.torch_dtype,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report[problem])):
            raise _load_error(upscaler, f"its weights lack the tensor {names[0]}, or it has another shape")
    multiple = math.lcm(SWIN2SR_PAD_PX, module.config.window_size)
    module = module.eval().to(device_config.device)
    return FeedForwardNetwork(module, device_config, multiple, CONTEXT_PX, is_swin2sr=True)


def _load_pipeline(upscaler: Upscaler, device_config: DeviceConfig) -> Network:
    pipe = getattr(diffusers, upscaler.class_name).from_pretrained(
        upscaler.path,
        torch_dtype=device_config.torch_dtype,
        variant=select_weights(upscaler.path)[0],
        use_safetensors=True,
        local_files_only=True,
    )
    is_latent = upscaler.class_name == SD_LATENT_UPSCALE
    return DiffusionNetwork(pipe.to(device_config.device), is_latent, blend=SD_LATENT_MULTIPLE if is_latent else 32)


def _load_error(upscaler: Upscaler, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the upscaler '{upscaler.name}': {reason}.",
        f"artgen models pull --force {upscaler.source}" if upscaler.revision else "Use another copy of the network.",
    )
