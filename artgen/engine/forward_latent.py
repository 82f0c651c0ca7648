"""The forward process in the latents of a model, seen through its decoder."""

import numpy as np
import torch
from PIL import Image

from artgen import images
from artgen.engine import accelerating
from artgen.engine.autoencoding import decoded, encoded
from artgen.engine.device import place
from artgen.engine.forward import Moment
from artgen.errors import NonFiniteError
from artgen.events import Listener, ModelChosen
from artgen.registry import ResolvedModel


def noised(
    picture: Image.Image, times: list[Moment], seed: int, model: ResolvedModel, listener: Listener
) -> list[Image.Image]:
    """A picture (mode RGB) at each time, noised in a model's latents and decoded; under one and the same noise.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
        NonFiniteError: the decoder produced NaN or infinity.
    """
    placement = place("auto", "auto")
    listener(ModelChosen(model.name, placement.device, placement.dtype))
    pipe = accelerating.load_plain(model, placement, listener)
    padded = images.pad_to_multiple(picture, model.multiple)[0]
    pixels = torch.from_numpy(np.asarray(padded, np.float32).transpose(2, 0, 1))[None] / 127.5 - 1
    clean = encoded(pipe.vae, pixels.to(pipe._execution_device, pipe.vae.dtype)).float().cpu()
    epsilon = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    states = torch.cat([time.signal * clean + time.noise * epsilon for time in times])
    found = [each.crop((0, 0, *picture.size)) for each in decoded(pipe, states) if each is not None]
    if len(found) < len(times):
        raise NonFiniteError("The decoder produced NaN or infinity; nothing was written.", "Try --space pixel.")
    return found
