"""A picture through a model's autoencoder and back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from artgen import images
from artgen.engine import accelerating, components, loading
from artgen.engine.device import Placement
from artgen.engine.measuring import measure
from artgen.engine.memory import is_exhaustion
from artgen.errors import MemoryExhaustedError, ModelUnavailableError, NonFiniteError
from artgen.events import Listener, Loading, ignore
from artgen.registry import ResolvedModel


def factor(vae: Any) -> int:
    """Pixels a side that become one latent."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@torch.inference_mode()
def reconstruct(vae: Any, picture: Image.Image) -> Image.Image:
    """What the autoencoder makes of a picture: encoded to the mean of its latents, and decoded.

    Args:
        vae: diffusers' `AutoencoderKL`.
        picture: mode RGB, any size; extended by reflection where the autoencoder needs it, and cut again.

    Returns:
        a picture of the same size, mode RGB.

    Raises:
        NonFiniteError: the autoencoder produced NaN or infinity.
    """
    padded, _ = images.pad_to_multiple(picture, factor(vae))
    pixels = torch.from_numpy(np.array(padded, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    pixels = pixels.to(vae.device, vae.dtype)
    rebuilt = vae.decode(vae.encode(pixels).latent_dist.mean).sample[0].float()
    if not rebuilt.isfinite().all():
        raise NonFiniteError("The autoencoder produced NaN or infinity; nothing was written.", "Try --dtype fp32.")
    array = ((rebuilt.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array).crop((0, 0, picture.width, picture.height))


@dataclass(frozen=True)
class Rebuilt:
    """A picture, what the autoencoder made of it, and how close that comes (`artgen.engine.measuring.MEASURES`)."""

    given: Image.Image
    picture: Image.Image
    measured: dict[str, float]


def rebuild(
    model: ResolvedModel, pictures: Iterable[Image.Image], place: Placement, listener: Listener = ignore
) -> Iterator[Rebuilt]:
    """Takes pictures one by one through a model's autoencoder and back.

    Args:
        model: any with an `AutoencoderKL`.
        pictures: mode RGB, any size.
        place: where, and at which precision.
        listener: is told of loading.

    Raises:
        ModelUnavailableError: it has another kind of autoencoder, or a damaged one.
        NonFiniteError: the autoencoder produced NaN or infinity.
        MemoryExhaustedError: a picture is too large for the memory.
    """
    vae = load(model, place, listener)
    for given in pictures:
        try:
            picture = reconstruct(vae, given)
        except (MemoryError, RuntimeError) as error:
            if not is_exhaustion(error):
                raise
            raise MemoryExhaustedError(
                f"Out of memory on {place.device} for {given.width}x{given.height}.", "Make the picture smaller."
            ) from None
        yield Rebuilt(given, picture, measure(picture, given))


def load(model: ResolvedModel, place: Placement, listener: Listener = ignore) -> Any:
    """The autoencoder of a model, or the one read last; without the rest where the model is a folder.

    Raises:
        ModelUnavailableError: it has another kind of autoencoder, or a damaged one.
    """

    def read() -> Any:
        if model.is_file:
            return accelerating.load_plain(model, place, listener).vae
        listener(Loading("vae"))
        return components.read_component(AutoencoderKL, model, "vae", place).to(place.device)

    vae = loading.kept(("vae", model.path, model.revision, place), model, read)
    if not isinstance(vae, AutoencoderKL):
        raise ModelUnavailableError(
            f"{model.name} has a {type(vae).__name__}, not an AutoencoderKL.", "Choose another --model."
        )
    return vae.eval()
