"""Label images from their pixels: the background, and the color and the number of things."""

import sys
from pathlib import Path

import numpy as np
from labels import UNCLEAR
from PIL import Image
from prompt_list import Prompt
from skimage.color import rgb2lab

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from named_colors import BACKGROUNDS
from prompt_adherence import (
    HUE_BINS,
    MIN_SATURATION,
    background_color,
    border_color,
    count_objects,
    foreground,
    has_plain_background,
    hue_distance,
    main_hue,
)

MIN_COLORFUL_FRACTION = 0.15
"""Smallest fraction of the object with a hue. Below it, the label is `no hue`."""
MAX_COUNT = 4


def pixel_labels(image: np.ndarray, prompt: Prompt) -> dict[str, str]:
    """Return labels that are measured from pixels: the background, and the color and the number of things.

    Args:
        image: uint8 of shape (side, side, 3).
        prompt: prompt of the image.
    """
    is_plain = has_plain_background(image)
    labels = {"background": f"plain {background_color(image)}" if is_plain else "scene or gradient"}
    if prompt.kind != "things":
        return labels
    if not is_plain:
        return {"color": UNCLEAR, "count": UNCLEAR, **labels}
    background = border_color(image)
    count = count_objects(image, background)
    count_label = str(count) if count < MAX_COUNT else f"{MAX_COUNT} or more"
    return {"color": color_label(image, background), "count": count_label, **labels}


def color_label(image: np.ndarray, background: tuple[int, ...]) -> str:
    """Return the named color nearest to the main color of the object, or `no hue` for black, gray and white objects.

    The main color is the median of the pixels with the most frequent hue. The distance is the one of CIELAB.
    """
    mask = foreground(image, background)
    if not mask.any():
        return UNCLEAR
    hsv = np.asarray(Image.fromarray(image).convert("HSV"), np.float32) / 255
    has_hue = mask & (hsv[..., 1] > MIN_SATURATION)
    if has_hue.sum() < MIN_COLORFUL_FRACTION * mask.sum():
        return "no hue"
    has_main_hue = has_hue & (hue_distance(hsv[..., 0], main_hue(image, background)) < 1.5 / HUE_BINS)
    main_color = np.median(image[has_main_hue], axis=0)
    lab = rgb2lab(np.array([main_color, *BACKGROUNDS.values()])[None] / 255)[0]
    return list(BACKGROUNDS)[int(np.square(lab[1:] - lab[0]).sum(1).argmin())]
