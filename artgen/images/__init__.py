"""Pictures in: loading, masks, and the geometry around a picture. Pillow only; nothing here draws or writes."""

from artgen.images.canvas import (
    Box,
    Expansion,
    expand_canvas,
    expansion_to,
    nearest_sizes,
    pad_to_multiple,
    parse_expand,
    parse_size,
)
from artgen.images.decoding import FORMATS, MAX_PIXELS, SUFFIXES
from artgen.images.exact import ExactImage, load_exact, without_alpha
from artgen.images.folders import pictures_in
from artgen.images.loading import LoadedImage, load_image
from artgen.images.masks import LoadedMask, composite, feather, load_mask

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Box",
    "ExactImage",
    "Expansion",
    "LoadedImage",
    "LoadedMask",
    "composite",
    "expand_canvas",
    "expansion_to",
    "feather",
    "load_exact",
    "load_image",
    "load_mask",
    "nearest_sizes",
    "pad_to_multiple",
    "parse_expand",
    "parse_size",
    "pictures_in",
    "without_alpha",
]
