"""Run the forward process in pixel space."""

import numpy as np
from PIL import Image

from artgen.engine.diffusion.noise_schedule import NoiseLevel, add_noise


def add_pixel_noise(image: Image.Image, levels: list[NoiseLevel[float]], seed: int) -> list[Image.Image]:
    """Return an RGB image at each noise level; the noise is the same at all levels. Values are clipped to 0..255."""
    clean = np.asarray(image, np.float32) / 127.5 - 1
    noise = np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    states = (add_noise(clean, noise, level) for level in levels)
    return [Image.fromarray(np.rint(np.clip((state + 1) * 127.5, 0, 255)).astype(np.uint8)) for state in states]
