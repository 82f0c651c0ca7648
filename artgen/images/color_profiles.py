"""Convert colors between embedded ICC profiles and sRGB. The data of a profile decides, not its description.

Pillow's interface to Little CMS converts 8 bits per channel. Values between two 8-bit values are interpolated.
"""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageCms

MAX_SRGB_DIFFERENCE = 2
"""A profile whose colors differ from sRGB by at most this number of 8-bit levels is treated as sRGB."""

_MAX_BLACK, _MIN_WHITE = 32, 224
"""Limits of black and white in a plausible profile, in 8-bit sRGB."""

_COLOR_SPACES = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
"""Color spaces of a valid profile, by image mode. An RGB profile also describes the gray axis of its space."""


_SAME_VALUE: Sequence[int] = list(range(256))
_NEXT_VALUE: Sequence[int] = [min(value + 1, 255) for value in range(256)]
_PREVIOUS_VALUE: Sequence[int] = [max(value - 1, 0) for value in range(256)]


@dataclass(frozen=True)
class ColorProfile:
    """Store a valid ICC profile of an image.

    Attributes:
        data: bytes of the profile.
        mode: mode of the colors that the profile describes: L, RGB or CMYK.
        name: description in the profile, untrusted.
        is_srgb: whether the colors are sRGB colors, within `MAX_SRGB_DIFFERENCE`.
        is_invertible: whether sRGB can be converted to the profile. False for profiles of scanners and printers that
            contain a table for one direction.
    """

    data: bytes
    mode: str
    name: str
    is_srgb: bool
    is_invertible: bool


def read_profile(icc_profile: object, mode: str) -> ColorProfile | None:
    """Return the embedded profile of an image with `mode` (L, RGB or CMYK).

    Returns:
        None if the file has no profile (`icc_profile` is None or empty).

    Raises:
        ValueError: The profile is damaged, or it is not valid for the mode.
    """
    if not icc_profile:
        return None
    profile = _parse_profile(icc_profile) if isinstance(icc_profile, bytes) else None
    if profile is None or profile.mode not in (
        "L" if space == "GRAY" else space for space in _COLOR_SPACES.get(mode, ())
    ):
        raise ValueError(f"the profile is damaged or not a profile for {mode} images")
    return profile


def embedded_profile(image: Image.Image) -> ColorProfile | None:
    """Return the profile in the `info` of an image (with or without alpha); None if it has no valid profile."""
    try:
        return read_profile(image.info.get("icc_profile"), image.mode.removesuffix("A"))
    except ValueError:
        return None


def to_srgb(image: Image.Image, profile: ColorProfile | None, low_bytes: Image.Image | None = None) -> Image.Image:
    """Convert colors (mode L, RGB or CMYK) to 8-bit sRGB, mode RGB.

    Args:
        image: colors, or the high bytes of 16-bit colors.
        profile: profile of the colors; None or an sRGB profile does not change the values.
        low_bytes: low bytes of 16-bit colors, same mode; used only if the profile changes the values.
    """
    if profile is None or profile.is_srgb:
        return image.convert("RGB")
    if low_bytes is None:
        return _convert(image.convert(profile.mode), profile, "to sRGB")
    import numpy  # the import takes longer than many commands

    values = numpy.asarray(image).astype(numpy.uint16) * 256 + numpy.asarray(low_bytes)
    below, remainder = (
        Image.fromarray(part.astype(numpy.uint8), image.mode).convert(profile.mode)
        for part in (values // 257, values % 257 * 255 // 257)
    )
    above = below.point([*_NEXT_VALUE] * len(profile.mode))
    colors = (_convert(each, profile, "to sRGB").split() for each in (above, below))
    bands = zip(*colors, remainder.convert("RGB").split(), strict=True)
    return Image.merge("RGB", [Image.composite(*each) for each in bands])


def from_srgb(image: Image.Image, profile: ColorProfile | None, mode: str) -> Image.Image:
    """Convert 8-bit sRGB colors (mode RGB) to an invertible profile, mode L or RGB."""
    if profile is None or profile.is_srgb:
        return image.convert(mode)
    return _convert(image.convert(mode).convert("RGB"), profile, "from sRGB").convert(mode)


def from_srgb_16bit(image: Image.Image, profile: ColorProfile | None, mode: str) -> tuple[Image.Image, Image.Image]:
    """Convert 8-bit sRGB colors (mode RGB) to 16-bit values of an invertible profile, as high and low bytes.

    The 8-bit result is corrected by its conversion error, divided by the local slope of the conversion: the 8-bit
    values of a linear profile are too coarse for dark colors.
    """
    result = from_srgb(image, profile, mode)
    if profile is None or profile.is_srgb:
        return result, result  # value * 257
    import numpy  # the import takes longer than many commands

    target = numpy.asarray(image.convert(mode), numpy.float32)
    found, above, below = (
        numpy.asarray(to_srgb(result.point([*table] * len(mode)), profile).convert(mode), numpy.float32)
        for table in (_SAME_VALUE, _NEXT_VALUE, _PREVIOUS_VALUE)
    )
    error = target - found
    slope = numpy.maximum(numpy.where(error > 0, above - found, found - below), 1)
    values = numpy.asarray(result, numpy.float32) + numpy.clip(error / slope, -1, 1)
    values_16bit = numpy.rint(numpy.clip(values, 0, 255) * 257).astype(numpy.uint16)
    high, low = (Image.fromarray(part.astype(numpy.uint8), mode) for part in (values_16bit >> 8, values_16bit & 255))
    return high, low


@functools.lru_cache(maxsize=8)
def _parse_profile(data: bytes) -> ColorProfile | None:
    """Return a profile, or None if Little CMS cannot convert its colors to sRGB."""
    try:
        parsed = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = str(parsed.profile.xcolor_space).strip()
        profile = ColorProfile(data, {"GRAY": "L"}.get(space, space), _description(parsed), False, True)
        if profile.mode not in _COLOR_SPACES:
            return None
        probe = _probe(profile.mode)
        colors = _convert(probe, profile, "to sRGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if profile.mode != "CMYK" and not _is_plausible(colors):
        return None
    is_srgb = profile.mode != "CMYK" and _max_difference(colors, probe.convert("RGB")) <= MAX_SRGB_DIFFERENCE
    try:
        _convert(colors, profile, "from sRGB")
        is_invertible = True
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        is_invertible = False
    return ColorProfile(data, profile.mode, profile.name, is_srgb, is_invertible)


def _is_plausible(ramp: Image.Image) -> bool:
    """Return whether black, middle gray and white (at x = 0, 128 and 255) are still black, gray and white."""
    black, gray, white = (ramp.crop((x, 0, x + 1, 1)).tobytes() for x in (0, 128, 255))
    return max(black) <= _MAX_BLACK < min(gray) and max(gray) < _MIN_WHITE <= min(white)


def _description(parsed: ImageCms.ImageCmsProfile) -> str:
    try:
        return ImageCms.getProfileDescription(parsed).strip()
    except (ImageCms.PyCMSError, UnicodeDecodeError):  # the colors do not depend on the description
        return ""


def _convert(image: Image.Image, profile: ColorProfile, direction: str) -> Image.Image:
    """Convert between the mode of a profile and RGB; `direction` is `to sRGB` or `from sRGB`.

    Raises:
        ImageCms.PyCMSError, OSError, ValueError: Little CMS cannot convert.
    """
    if profile.mode == "L":
        return (
            image.convert("L")
            .point(_gray_table(profile.data, direction))
            .convert("RGB" if direction == "to sRGB" else "L")
        )
    return _convert_with_lcms(image, profile.data, profile.mode, direction)


@functools.lru_cache(maxsize=8)
def _gray_table(profile: bytes, direction: str) -> list[int]:
    """Return the converted value of each 8-bit gray value. Little CMS is exact but slow with `NOOPTIMIZE`."""
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    source = ramp if direction == "to sRGB" else ramp.convert("RGB")
    return list(_convert_with_lcms(source, profile, "L", direction, ImageCms.Flags.NOOPTIMIZE).convert("L").tobytes())


def _convert_with_lcms(
    image: Image.Image, profile: bytes, mode: str, direction: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> Image.Image:
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    source, target, output_mode = (own, srgb, "RGB") if direction == "to sRGB" else (srgb, own, mode)
    result = ImageCms.profileToProfile(image, source, target, outputMode=output_mode, flags=flags)
    if result is None:
        raise ValueError("no conversion")
    result.info = {}
    return result


def _probe(mode: str) -> Image.Image:
    """Return an image with the gray ramp, the ramps of the channels and a grid of colors."""
    ramp = bytes(range(256))
    if mode == "L":
        return Image.frombytes("L", (256, 1), ramp)
    channels = len(mode)
    colors = [bytes([value] * channels) for value in ramp]
    colors += [
        bytes(channel) + bytes([value]) + bytes(channels - channel - 1) for channel in range(channels) for value in ramp
    ]
    grid = range(0, 256, 51)
    colors += [bytes((a, b, c, 0)[:channels]) for a in grid for b in grid for c in grid]
    return Image.frombytes(mode, (len(colors), 1), b"".join(colors))


def _max_difference(first: Image.Image, second: Image.Image) -> int:
    return max(int(high) for _, high in ImageChops.difference(first, second).getextrema())  # type: ignore[misc]
