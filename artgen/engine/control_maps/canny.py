"""Detect edges: Canny 1986, "A Computational Approach to Edge Detection"."""

import numpy as np
from PIL import Image

SIGMA_PX = 1.0
LOW, HIGH = 0.1, 0.2
"""Thresholds of the gradient of a gray image with the values 0 to 1. OpenCV's thresholds 100 and 200, which ControlNets
were trained with, apply to the Sobel gradient (about 4 times as large) of an image of 0 to 255 without smoothing:
100 / (4 * 255) = 0.1 and 200 / (4 * 255) = 0.2.
"""


def canny_map(image: Image.Image) -> Image.Image:
    """Return the edges of an image: white lines of one pixel on black, mode RGB, same size.

    Args:
        image: RGB image.
    """
    from skimage import feature  # the import takes 0.5 s

    gray = np.asarray(image.convert("L"), np.float64) / 255
    edges = feature.canny(  # type: ignore[no-untyped-call]
        gray, sigma=SIGMA_PX, low_threshold=LOW, high_threshold=HIGH
    )
    return Image.fromarray(edges.astype(np.uint8) * np.uint8(255)).convert("RGB")
