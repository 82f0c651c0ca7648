"""A picture through a model's autoencoder and back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from artgen import images
from artgen.engine.acceleration import apply
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import is_oom
from artgen.engine.metrics import compare_images
from artgen.errors import MemoryExhaustedError, ModelUnavailableError, NonFiniteError
from artgen.events import Listener, Loading, no_op
from artgen.registry import ResolvedModel


def vae_downscale(vae: Any) -> int:
    """Pixels a side that become one latent."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@torch.inference_mode()
def vae_roundtrip(vae: Any, image: Image.Image) -> Image.Image:
    """What the autoencoder makes of a picture: encoded to the mean of its latents, and decoded.

    Args:
        vae: diffusers' `AutoencoderKL`.
        image: mode RGB, any size; extended by reflection where the autoencoder needs it, and cut again.

    Returns:
        a picture of the same size, mode RGB.

    Raises:
        NonFiniteError: the autoencoder produced NaN or infinity.
    """
    padded, _ = images.pad_to_multiple(image, vae_downscale(vae))
    pixels = torch.from_numpy(np.array(padded, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    pixels = pixels.to(vae.device, vae.dtype)
    rebuilt = vae.decode(vae.encode(pixels).latent_dist.mean).sample[0].float()
    if not rebuilt.isfinite().all():
        raise NonFiniteError("The autoencoder produced NaN or infinity; nothing was written.", "Try --dtype fp32.")
    array = ((rebuilt.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array).crop((0, 0, image.width, image.height))


@dataclass(frozen=True)
class Reconstruction:
    """A picture, what the autoencoder made of it, and how close that comes (`artgen.engine.metrics.MEASURES`)."""

    original: Image.Image
    reconstructed: Image.Image
    metrics: dict[str, float]


def reconstruct_all(
    model: ResolvedModel, originals: Iterable[Image.Image], device_config: DeviceConfig, listener: Listener = no_op
) -> Iterator[Reconstruction]:
    """Takes pictures one by one through a model's autoencoder and back.

    Args:
        model: any with an `AutoencoderKL`.
        originals: mode RGB, any size.
        device_config: where, and at which precision.
        listener: is told of loading.

    Raises:
        ModelUnavailableError: it has another kind of autoencoder, or a damaged one.
        NonFiniteError: the autoencoder produced NaN or infinity.
        MemoryExhaustedError: a picture is too large for the memory.
    """
    vae = load_vae(model, device_config, listener)
    for given in originals:
        try:
            picture = vae_roundtrip(vae, given)
        except (MemoryError, RuntimeError) as error:
            if not is_oom(error):
                raise
            raise MemoryExhaustedError(
                f"Out of memory on {device_config.device} for {given.width}x{given.height}.",
                "Make the picture smaller.",
            ) from None
        yield Reconstruction(given, picture, compare_images(picture, given))


def load_vae(model: ResolvedModel, device_config: DeviceConfig, listener: Listener = no_op) -> Any:
    """The autoencoder of a model, or the one read last; without the rest where the model is a folder.

    Raises:
        ModelUnavailableError: it has another kind of autoencoder, or a damaged one.
    """

    def read() -> Any:
        if model.is_file:
            return apply.load_unoptimized(model, device_config, listener).vae
        listener(Loading("vae"))
        return components.load_component(AutoencoderKL, model, "vae", device_config).to(device_config.device)

    vae = pipeline_cache.cached(("vae", model.path, model.revision, device_config), model, read)
    if not isinstance(vae, AutoencoderKL):
        raise ModelUnavailableError(
            f"{model.name} has a {type(vae).__name__}, not an AutoencoderKL.", "Choose another --model."
        )
    return vae.eval()
