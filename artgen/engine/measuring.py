"""How close a picture comes to a reference."""

import numpy as np
from PIL import Image

from artgen.engine.quality import perceptual_distance, psnr, ssim
from artgen.images import without_alpha

MEASURES = {"psnr": psnr, "ssim": ssim, "perceptual_distance": perceptual_distance}
"""What `measure` tells: decibels, more is better; 0 to 1, more is better; 0 and up, less is better."""


def measure(found: Image.Image, reference: Image.Image) -> dict[str, float]:
    """The `MEASURES` of two pictures of one size; colours alone count, in 8 bits."""
    grey = found.mode in ("L", "LA") and reference.mode in ("L", "LA")
    first, second = (np.asarray(without_alpha(image).convert("L" if grey else "RGB")) for image in (found, reference))
    return {name: distance(first, second) for name, distance in MEASURES.items()}
