"""Detect and open AVIF and HEIC files, and read the properties that Pillow does not return.

Both formats are containers of ISO/IEC 23008-12 (HEIF). Pillow decodes AVIF. The package pillow-heif, an optional
dependency, decodes HEIC.
"""

import struct
from typing import BinaryIO

from PIL import Image, ImageFile

HEIF_HINT = "Run `pip install 'artgen[heif]'`, or save the image as JPEG or PNG."

_SEARCHED_BYTES = 1 << 20
"""Number of bytes at the start of a file that are searched for properties; they come before the pixels."""

_HIGH_BIT_DEPTH, _TWELVE_BITS = 0x40, 0x20
"""Flags in the third byte of the AV1 configuration (AV1-ISOBMFF, section 2.3.3)."""

_COLOR_SPACES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Color primaries and transfer functions of ITU-T H.273 whose values are not close to sRGB."""


def heif_format(head: bytes) -> str:
    """Return `AVIF` or `HEIF` for the first bytes of a file of this format, else an empty text.

    Args:
        head: at least 12 bytes; more bytes contain the compatible brands, which distinguish the formats.
    """
    if head[4:8] != b"ftyp":
        return ""
    (length,) = struct.unpack_from(">I", head)
    major, compatible = head[8:12], head[16:length]
    if major in (b"avif", b"avis") or (major in (b"mif1", b"msf1") and b"avi" in compatible):
        return "AVIF"
    return "HEIF" if major[:3] in (b"hei", b"hev") or major in (b"mif1", b"msf1") else ""


def open_heif(file: BinaryIO) -> ImageFile.ImageFile:
    """Open a HEIC file with pillow-heif, without decoding its pixels.

    Raises:
        ImportError: pillow-heif is not installed.
        SyntaxError: the file is damaged.
    """
    from pillow_heif import HeifImageFile

    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


def heif_notes(image: Image.Image, data: bytes, name: str) -> list[str]:
    """Return notes about what 8-bit sRGB values lose: more bits per channel, and another color space.

    Args:
        image: an opened AVIF or HEIC file.
        data: bytes of the file.
        name: name of the file.
    """
    notes = []
    start = data[:_SEARCHED_BYTES]
    bits = image.info.get("bit_depth") or _av1_bits(start)
    if bits > 8:
        notes.append(f"The {bits}-bit values of '{name}' are scaled to 8 bits.")
    primaries, transfer = _color_codes(start)
    space = " ".join(filter(None, (_COLOR_SPACES.get(primaries), _TRANSFERS.get(transfer))))
    if space and "icc_profile" not in image.info:
        notes.append(f"'{name}' has the color space {space} without a color profile. Its values are used as sRGB.")
    return notes


def _av1_bits(data: bytes) -> int:
    """Return the bits per channel of an AVIF file; 8 if they are unknown."""
    position = data.find(b"av1C")
    if position < 0 or position + 7 > len(data):
        return 8
    flags = data[position + 6]
    return 8 if not flags & _HIGH_BIT_DEPTH else 12 if flags & _TWELVE_BITS else 10


def _color_codes(data: bytes) -> tuple[int, int]:
    """Return the codes of the color primaries and the transfer function (ITU-T H.273); zeros if they are unknown."""
    position = data.find(b"colrnclx")
    if position < 0 or position + 12 > len(data):
        return 0, 0
    primaries, transfer = struct.unpack_from(">HH", data, position + 8)
    return primaries, transfer
