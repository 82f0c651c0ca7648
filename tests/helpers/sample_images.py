"""Create small input images and compare images. Does not import torch."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photo(path: Path, width: int = 32, height: int = 32, seed: int = 1) -> Path:
    """Save a PNG image with a gradient and noise. Return its path."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    gradient = np.linspace(0, 255, width)[None, :, None]
    Image.fromarray(((noise + gradient) / 2).astype(np.uint8)).save(path)
    return path


def mask(path: Path, width: int = 32, height: int = 32, box: tuple[int, int, int, int] = (8, 4, 24, 20)) -> Path:
    """Save a black PNG mask with a white box. Return its path."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, box)
    image.save(path)
    return path


def save_inputs() -> None:
    """Write `photo.png` and `mask.png` (32x32), and the image prompts `style.png` and `other.png`."""
    photo(Path("photo.png"))
    mask(Path("mask.png"))
    Image.radial_gradient("L").convert("RGB").resize((40, 48)).save("style.png")
    Image.linear_gradient("L").convert("RGB").resize((50, 36)).save("other.png")


def task_arguments(task: str) -> dict[str, Any]:
    """Return the arguments of a pipeline of diffusers for the images of `save_inputs`.

    Args:
        task: txt2img, img2img or inpaint.
    """
    if task == "img2img":
        return {"image": Image.open("photo.png"), "strength": 0.8}
    size = {"width": 32, "height": 32}
    if task == "txt2img":
        return size
    return {**size, "image": Image.open("photo.png"), "mask_image": Image.open("mask.png"), "strength": 1.0}


def same(first: Image.Image, second: Image.Image) -> bool:
    """Return whether two images have the same mode, size and bytes."""
    return first.mode == second.mode and first.size == second.size and first.tobytes() == second.tobytes()


def difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference between two images, in gray levels."""
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())
