"""Convert a drawn sketch, or the edges of an image, to white lines on black, for `lineart` and `scribble`."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from artgen.engine.control_maps.canny import canny_map

MAX_SATURATION = 40
"""Largest difference of the channels of 99 % of the pixels of a sketch, 0 to 255."""

PAPER_TOLERANCE = 40
"""Largest difference of a pixel of the paper from white or black, 0 to 255."""

MIN_PAPER_SHARE = 0.7
MIN_LINE_SHARE = 0.001

SCRIBBLE_LINE_PX = 5
"""Width of the lines of a scribble that is made of edges."""


def sketch_paper(image: Image.Image) -> str | None:
    """Return the color of the paper of a drawn sketch, `white` or `black`; None for another image.

    A sketch has gray lines on paper of one color, which covers at least 70 % of the image.

    Args:
        image: RGB image.
    """
    pixels = np.asarray(image, np.int16)
    if np.percentile(pixels.max(axis=2) - pixels.min(axis=2), 99) > MAX_SATURATION:
        return None
    gray = np.asarray(image.convert("L"), np.int16)
    for paper, distance in (("white", 255 - gray), ("black", gray)):
        if (distance <= PAPER_TOLERANCE).mean() >= MIN_PAPER_SHARE and (distance > 128).mean() >= MIN_LINE_SHARE:
            return paper
    return None


def line_map(image: Image.Image, kind: str) -> tuple[Image.Image, str]:
    """Return white lines on black, mode RGB, same size, and a note about the method.

    Args:
        image: RGB image.
        kind: `lineart` or `scribble`.
    """
    paper = sketch_paper(image)
    if paper == "black":
        return image, f"{kind}: the image is a sketch with white lines, and is used unchanged."
    if paper == "white":
        return ImageOps.invert(image), f"{kind}: the image is a sketch with dark lines, and is inverted."
    edges = canny_map(image)
    if kind == "scribble":
        edges = edges.filter(ImageFilter.MaxFilter(SCRIBBLE_LINE_PX))
    return edges, f"{kind}: the image is not a sketch, and its edges are used."
