"""Pictures of 16 bits a channel, for which Pillow has no colour mode: what it reads of them, and how to read the rest.

Pillow keeps the upper byte of each value; told that the bytes come the other way round, it keeps the lower one.
"""

import sys
from collections.abc import Callable

from PIL import ImageFile, TiffImagePlugin

_SWAPPED_BYTE_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_TIFF_BITS_PER_SAMPLE, _TIFF_PLANAR_CONFIGURATION = 258, 284
"""TIFF's tags BitsPerSample and PlanarConfiguration (TIFF 6.0)."""


def raw_mode(image: ImageFile.ImageFile) -> str:
    """Pillow's name for the order of the bits of a PNG or TIFF, such as `RGB;16B`; empty for other formats."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return ""
    arguments = image.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def is_16bit(image: ImageFile.ImageFile) -> bool:
    """Whether a PNG or TIFF has 16 bits a channel."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return set(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, ())) == {16}
    return ";16" in raw_mode(image)


def fix_planar_tiff(image: ImageFile.ImageFile) -> None:
    """Says of an uncompressed TIFF with a plane for each channel that its values have 16 bits.

    Pillow (13.0) takes every byte of them for a value of 8 bits, and half of the picture for all of it.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and is_16bit(image):
        end = "L" if image.tag_v2.prefix == b"II" else "B"
        set_raw_mode(image, lambda order: f"{order};16{end}" if len(order) == 1 else order)


def read_low_byte(image: ImageFile.ImageFile) -> bool:
    """Has a picture that is not loaded yet read the lower bytes of its values; False where Pillow cannot.

    It can for RGB and RGBA, unless they are multiplied by their transparency or lie in compressed planes.
    """
    channels, deep, _ = raw_mode(image).partition(";16")
    planes = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PLANAR_CONFIGURATION) == 2
    if not deep or image.mode not in ("RGB", "RGBA") or channels != ("R" if planes else image.mode):
        return False
    set_raw_mode(image, lambda order: order[:-1] + _SWAPPED_BYTE_ORDER[order[-1]])
    return True


def set_raw_mode(image: ImageFile.ImageFile, convert: Callable[[str], str]) -> None:
    """Has a picture that is not loaded yet read its bits in another order, given the one of each of its parts."""
    image.tile = [
        tile._replace(args=(convert(str(tile.args[0])), *tile.args[1:]))
        if isinstance(tile.args, tuple)
        else tile._replace(args=convert(str(tile.args)))
        for tile in image.tile
    ]
