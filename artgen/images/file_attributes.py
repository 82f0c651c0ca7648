"""Select the resolution and the harmless EXIF data of an image file: the date, the camera and the exposure."""

import contextlib
import math
import struct
from collections.abc import Mapping
from typing import Any

from PIL import Image

from artgen.images.decoding import DecodedImage

_MAKE_TO_DATE_TAGS = (0x010F, 0x0110, 0x0132)
"""EXIF tags Make, Model and DateTime in IFD 0."""

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _SIGNED_RATIONAL = 1, 2, 3, 4, 5, 7, 10
"""Types of EXIF values."""

_EXPOSURE_TYPES = {
    **dict.fromkeys((0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292, 0xA433, 0xA434), _ASCII),
    **dict.fromkeys((0x8822, 0x8827, 0x8830, 0x9207, 0x9208, 0x9209, 0xA402, 0xA403, 0xA405), _SHORT),
    **dict.fromkeys((0x8831, 0x8832), _LONG),
    **dict.fromkeys((0x829A, 0x829D, 0x9202, 0x9205, 0x9206, 0x920A, 0xA432), _RATIONAL),
    **dict.fromkeys((0x9201, 0x9203, 0x9204), _SIGNED_RATIONAL),
}
"""EXIF tags of the exposure, the dates and the lens in the Exif IFD, and the type of each (CIPA DC-008, 4.6.5). GPS
data, serial numbers, names of persons, comments, maker notes and thumbnails are not in this table."""

_EXIF_IFD = 0x8769
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH, _CENTIMETER = 2, 3
_YCBCR_POSITIONING, _CENTERED = 0x0213, 1
_TRANSPOSES_WITH_SWAPPED_SIDES = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
)
_SCREEN_DPI = 72
"""Resolution that EXIF requires of images without a resolution."""
_SRGB, _UNCALIBRATED = 1, 0xFFFF
_MAX_TEXT_LENGTH = 128
_MAX_DPI = 65_535
"""Largest resolution that JPEG stores."""


def harmless_exif(image: Image.Image) -> bytes | None:
    """Return an EXIF block with the date, the camera and the exposure of an image; None without such data."""
    try:
        exif = _select_harmless(image.getexif())
        return exif.tobytes() if len(exif) else None
    except Exception:  # Pillow raises many exception types on damaged EXIF data, which is optional
        return None


def resolution(decoded: DecodedImage) -> tuple[float, float] | None:
    """Return the horizontal and vertical resolution of the upright image in dots per inch; None if unknown."""
    dpi = decoded.image.info.get("dpi") or _exif_resolution(decoded.image)
    try:
        x, y = (float(value) for value in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value <= _MAX_DPI for value in (x, y)):
        return None
    return (y, x) if decoded.exif_transpose in _TRANSPOSES_WITH_SWAPPED_SIDES else (x, y)


class TypedExif(Image.Exif):
    """Write the values of the Exif IFD with the types of the EXIF standard. Pillow selects a type from each value."""

    def tobytes(self, offset: int = 8) -> bytes:
        data = bytearray(super().tobytes(offset))
        start = len(b"Exif\0\0")
        order = "<" if data[start : start + 2] == b"II" else ">"
        (first_ifd,) = struct.unpack_from(f"{order}L", data, start + 4)
        pointers = [value for _, (tag, _, _, value) in _ifd_entries(data, order, start + first_ifd) if tag == _EXIF_IFD]
        entries = [entry for pointer in pointers for entry in _ifd_entries(data, order, start + pointer)]
        for position, (tag, kind, count, _) in entries:
            standard = _EXPOSURE_TYPES.get(tag, kind)
            if kind == _BYTE:  # Pillow's type of bytes such as UserComment
                struct.pack_into(f"{order}H", data, position + 2, _UNDEFINED)
            elif (kind, standard) == (_RATIONAL, _SIGNED_RATIONAL):
                struct.pack_into(f"{order}H", data, position + 2, _SIGNED_RATIONAL)
            elif (kind, standard, count) == (_SHORT, _LONG, 1):
                (number,) = struct.unpack_from(f"{order}H", data, position + 8)
                struct.pack_into(f"{order}HLL", data, position + 2, _LONG, 1, number)
        return bytes(data)


def _ifd_entries(data: bytearray, order: str, offset: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return the position and the content (tag, type, number of values, value or offset) of the entries of an IFD."""
    (count,) = struct.unpack_from(f"{order}H", data, offset)
    positions = range(offset + 2, offset + 2 + 12 * count, 12)
    return [(position, struct.unpack_from(f"{order}HHLL", data, position)) for position in positions]


def merge_exif(own: Any, info: Mapping[str, Any], *, with_resolution: bool) -> Image.Exif | None:
    """Combine artgen's EXIF data (`Image.Exif` or None) with that of an image. Return None if both are empty.

    Args:
        own: tags that replace tags of the image.
        info: `exif` (bytes) and `dpi` (two numbers) of the image, if it has them.
        with_resolution: add the resolution, for formats that store it only in EXIF.
    """
    source = Image.Exif()
    with contextlib.suppress(Exception):  # as in `harmless_exif`
        source.load(info.get("exif", b""))
    merged = TypedExif()
    merged.update(_select_harmless(source))
    exposure = dict(merged.get(_EXIF_IFD) or {})
    if own is not None:
        exposure |= own.get(_EXIF_IFD) or {}
        merged.update({tag: value for tag, value in own.items() if tag != _EXIF_IFD})
    if exposure:
        merged[_EXIF_IFD] = exposure
    if with_resolution and "dpi" in info:
        _set_resolution(merged, info["dpi"])
    return merged if len(merged) else None


def complete_jpeg_exif(exif: Image.Exif, size: tuple[int, int], info: Mapping[str, Any], *, is_srgb: bool) -> None:
    """Add the tags that the EXIF data of a JPEG must have (CIPA DC-008, 4.6.8, table 17).

    Args:
        exif: changed in place.
        size: width and height of the image in pixels.
        info: `dpi` of the image, if it has a resolution.
        is_srgb: whether the colors are sRGB colors.
    """
    _set_resolution(exif, info.get("dpi", (_SCREEN_DPI, _SCREEN_DPI)))
    exif[_YCBCR_POSITIONING] = _CENTERED
    exif[_EXIF_IFD] = {
        **(exif.get(_EXIF_IFD) or {}),
        0x9000: b"0232",  # ExifVersion
        0x9101: b"\1\2\3\0",  # ComponentsConfiguration: Y, Cb, Cr
        0xA000: b"0100",  # FlashpixVersion
        0xA001: _SRGB if is_srgb else _UNCALIBRATED,  # ColorSpace
        0xA002: size[0],  # PixelXDimension
        0xA003: size[1],  # PixelYDimension
    }


def _set_resolution(exif: Image.Exif, dpi: tuple[float, float]) -> None:
    exif[_X_RESOLUTION], exif[_Y_RESOLUTION] = dpi
    exif[_RESOLUTION_UNIT] = _INCH


def _select_harmless(source: Image.Exif) -> Image.Exif:
    exif = Image.Exif()
    exif.update(_select(source, dict.fromkeys(_MAKE_TO_DATE_TAGS, _ASCII)))
    if _EXIF_IFD in source and (exposure := _select(source.get_ifd(_EXIF_IFD), _EXPOSURE_TYPES)):
        exif[_EXIF_IFD] = exposure
    return exif


def _select(tags: Any, types: Mapping[int, int]) -> dict[int, Any]:
    found = {tag: _convert(tags[tag], kind) for tag, kind in types.items() if tag in tags and _is_plain(tags[tag])}
    return {tag: value for tag, value in found.items() if value is not None}


def _convert(value: Any, kind: int) -> Any:
    """Return a plain value as a value that is written with the type `kind`; None for a value of another kind."""
    from PIL.TiffImagePlugin import IFDRational  # takes 5 ms to import

    values = value if isinstance(value, tuple) else (value,)
    if kind == _ASCII:
        return value if isinstance(value, str) else None
    if any(isinstance(each, str) for each in values):
        return None
    if kind in (_RATIONAL, _SIGNED_RATIONAL):
        limit = 2**31 if kind == _SIGNED_RATIONAL else 2**32
        fits = all((kind == _SIGNED_RATIONAL or each >= 0) and abs(each) < limit for each in values)
        converted = tuple(IFDRational(each) for each in values)
    else:
        limit = 2**16 if kind == _SHORT else 2**32
        fits = all(isinstance(each, int) and 0 <= each < limit for each in values)
        converted = values
    return (converted if isinstance(value, tuple) else converted[0]) if fits else None


def _is_plain(value: object) -> bool:
    """Return whether a value is a short text, a finite number, or up to four numbers."""
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT_LENGTH and value.isprintable()
    if isinstance(value, tuple):
        return len(value) <= 4 and all(not isinstance(each, tuple | str) and _is_plain(each) for each in value)
    try:
        return not isinstance(value, bytes) and math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return False


def _exif_resolution(image: Image.Image) -> tuple[Any, Any] | None:
    try:
        exif = image.getexif()
        x, y, unit = (exif.get(tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT))
        if x is None or y is None or unit not in (_INCH, _CENTIMETER):
            return None
        factor = 2.54 if unit == _CENTIMETER else 1.0
        return float(x) * factor, float(y) * factor
    except Exception:  # as in `harmless_exif`
        return None
