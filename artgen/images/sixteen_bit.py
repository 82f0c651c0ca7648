"""Decode 16 bits per channel with Pillow, which has no color mode for them.

Pillow keeps the high byte of each value. With the opposite byte order in the raw mode, it keeps the low byte.
"""

import sys
from collections.abc import Callable

from PIL import ImageFile, TiffImagePlugin

_SWAPPED_BYTE_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_TIFF_BITS_PER_SAMPLE, _TIFF_PLANAR_CONFIGURATION = 258, 284
"""TIFF tags BitsPerSample and PlanarConfiguration (TIFF 6.0)."""


def raw_mode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's raw mode of a PNG or TIFF, such as `RGB;16B`; empty for other formats."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return ""
    arguments = image.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def is_16bit(image: ImageFile.ImageFile) -> bool:
    """Return whether a PNG or TIFF has 16 bits per channel."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return set(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, ())) == {16}
    return ";16" in raw_mode(image)


def fix_planar_tiff(image: ImageFile.ImageFile) -> None:
    """Set the 16-bit raw mode of an uncompressed TIFF with separate planes.

    Without this, Pillow (13.0) reads each byte as an 8-bit value, and half of the data as the complete image.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and is_16bit(image):
        byte_order = "L" if image.tag_v2.prefix == b"II" else "B"
        set_raw_mode(image, lambda mode: f"{mode};16{byte_order}" if len(mode) == 1 else mode)


def read_low_byte(image: ImageFile.ImageFile) -> bool:
    """Make an image that is not loaded yet decode the low bytes of its values. Return False if Pillow cannot.

    Pillow can for RGB and RGBA, except with premultiplied alpha or compressed planes.
    """
    channels, marker, _ = raw_mode(image).partition(";16")
    is_planar = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PLANAR_CONFIGURATION) == 2
    if not marker or image.mode not in ("RGB", "RGBA") or channels != ("R" if is_planar else image.mode):
        return False
    set_raw_mode(image, lambda mode: mode[:-1] + _SWAPPED_BYTE_ORDER[mode[-1]])
    return True


def set_raw_mode(image: ImageFile.ImageFile, convert: Callable[[str], str]) -> None:
    """Convert the raw mode of each tile of an image that is not loaded yet."""
    image.tile = [
        tile._replace(args=(convert(str(tile.args[0])), *tile.args[1:]))
        if isinstance(tile.args, tuple)
        else tile._replace(args=convert(str(tile.args)))
        for tile in image.tile
    ]
