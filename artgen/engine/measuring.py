"""How close a picture comes to a reference."""

import numpy as np
from PIL import Image

from artgen.engine.quality import psnr, ssim, vae_feature_distance
from artgen.images import drop_alpha

METRICS = {"psnr": psnr, "ssim": ssim, "perceptual_distance": vae_feature_distance}
"""What `measure` tells: decibels, more is better; 0 to 1, more is better; 0 and up, less is better."""


def compare_images(candidate: Image.Image, reference: Image.Image) -> dict[str, float]:
    """The `MEASURES` of two pictures of one size; colours alone count, in 8 bits."""
    grey = candidate.mode in ("L", "LA") and reference.mode in ("L", "LA")
    first, second = (np.asarray(drop_alpha(image).convert("L" if grey else "RGB")) for image in (candidate, reference))
    return {name: distance(first, second) for name, distance in METRICS.items()}
