"""Select the resolution and the harmless EXIF data of an image file: the date, the camera and the exposure."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image

from artgen.images.decoding import DecodedImage

_MAKE_TO_DATE_TAGS = (0x010F, 0x0110, 0x0132)
"""EXIF tags Make, Model and DateTime in IFD 0."""

_EXPOSURE_TAGS = (
    0x829A, 0x829D, 0x8822, 0x8827, 0x8830, 0x8831, 0x8832, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9201, 0x9202,
    0x9203, 0x9204, 0x9205, 0x9207, 0x9208, 0x9209, 0x920A, 0x9290, 0x9291, 0x9292, 0xA402, 0xA403, 0xA405, 0xA432,
    0xA433, 0xA434,
)  # fmt: skip
"""EXIF tags of the exposure, the dates and the lens in the Exif IFD (CIPA DC-008, 4.6.5). GPS data, serial numbers,
names of persons, comments, maker notes and thumbnails are not in this list."""

_EXIF_IFD = 0x8769
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH, _CENTIMETER = 2, 3
_TRANSPOSES_WITH_SWAPPED_SIDES = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
)
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
    merged = _select_harmless(source)
    exposure = dict(merged.get(_EXIF_IFD) or {})
    if own is not None:
        exposure |= own.get(_EXIF_IFD) or {}
        merged.update({tag: value for tag, value in own.items() if tag != _EXIF_IFD})
    if exposure:
        merged[_EXIF_IFD] = exposure
    if with_resolution and "dpi" in info:
        merged[_X_RESOLUTION], merged[_Y_RESOLUTION] = info["dpi"]
        merged[_RESOLUTION_UNIT] = _INCH
    return merged if len(merged) else None


def _select_harmless(source: Image.Exif) -> Image.Exif:
    exif = Image.Exif()
    exif.update(_select(source, _MAKE_TO_DATE_TAGS))
    if _EXIF_IFD in source and (exposure := _select(source.get_ifd(_EXIF_IFD), _EXPOSURE_TAGS)):
        exif[_EXIF_IFD] = exposure
    return exif


def _select(tags: Any, allowed: tuple[int, ...]) -> dict[int, Any]:
    return {tag: tags[tag] for tag in allowed if tag in tags and _is_plain(tags[tag])}


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
