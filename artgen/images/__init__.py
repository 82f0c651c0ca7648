"""Load images and masks, change the canvas, and compose sheets and heat maps. Uses Pillow, without torch."""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.images.canvas import (
        Box,
        Expansion,
        default_feather,
        expand_canvas,
        expansion_to_size,
        nearest_sizes,
        pad_to_multiple,
        parse_expand,
        parse_size,
    )
    from artgen.images.decoding import MAX_PIXELS, check_image
    from artgen.images.editing import (
        convert_to_srgb,
        expand_lossless,
        has_transparency,
        paste_generated,
        resize_lossless,
        with_alpha_of,
    )
    from artgen.images.folders import iter_images
    from artgen.images.formats import FORMAT_NAMES, IMAGE_SUFFIXES, READABLE_FORMATS
    from artgen.images.loading import LoadedImage, load_image
    from artgen.images.lossless import LosslessImage, drop_alpha, load_lossless
    from artgen.images.mask_fill import fill_masked
    from artgen.images.mask_values import MIN_WHITE
    from artgen.images.masks import LoadedMask, composite, feather, load_mask, repainted_pixels
    from artgen.images.resampling import resize_lanczos
    from artgen.images.sixteen_bit_colors import add_change, colors_16bit, replace_colors_16bit


__all__ = [
    "FORMAT_NAMES",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_WHITE",
    "READABLE_FORMATS",
    "Box",
    "Expansion",
    "LoadedImage",
    "LoadedMask",
    "LosslessImage",
    "add_change",
    "check_image",
    "colors_16bit",
    "composite",
    "convert_to_srgb",
    "default_feather",
    "drop_alpha",
    "expand_canvas",
    "expand_lossless",
    "expansion_to_size",
    "feather",
    "fill_masked",
    "has_transparency",
    "iter_images",
    "load_image",
    "load_lossless",
    "load_mask",
    "nearest_sizes",
    "pad_to_multiple",
    "parse_expand",
    "parse_size",
    "paste_generated",
    "repainted_pixels",
    "replace_colors_16bit",
    "resize_lanczos",
    "resize_lossless",
    "with_alpha_of",
]

_MODULES = {
    "canvas": (
        "Box",
        "Expansion",
        "default_feather",
        "expand_canvas",
        "expansion_to_size",
        "nearest_sizes",
        "pad_to_multiple",
        "parse_expand",
        "parse_size",
    ),
    "decoding": ("MAX_PIXELS", "check_image"),
    "formats": ("FORMAT_NAMES", "IMAGE_SUFFIXES", "READABLE_FORMATS"),
    "editing": (
        "convert_to_srgb",
        "expand_lossless",
        "has_transparency",
        "paste_generated",
        "resize_lossless",
        "with_alpha_of",
    ),
    "folders": ("iter_images",),
    "loading": ("LoadedImage", "load_image"),
    "lossless": ("LosslessImage", "drop_alpha", "load_lossless"),
    "mask_values": ("MIN_WHITE",),
    "mask_fill": ("fill_masked",),
    "masks": ("LoadedMask", "composite", "feather", "load_mask", "repainted_pixels"),
    "resampling": ("resize_lanczos",),
    "sixteen_bit_colors": ("add_change", "colors_16bit", "replace_colors_16bit"),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
