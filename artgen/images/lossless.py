"""Load images without loss: keep gray, transparency, 16 bits per channel and the color profile."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.images.channels import split_alpha, transparent_color_note
from artgen.images.color_profiles import ColorProfile, read_profile, to_srgb
from artgen.images.decoding import MAX_PIXELS, DecodedImage, decode_image
from artgen.images.file_attributes import harmless_exif, resolution

_GRAY_ALPHA_RAWMODE = "LA;16B"
"""Raw mode of 16-bit gray with alpha. Decoded as RGBA it gives the high and low bytes of both channels."""

_SRGB_GAMMA, _SRGB_CHROMATICITY, _PNG_TOLERANCE = 1 / 2.2, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 0.01
_SRGB_CICP = b"\x01\x0d"
"""Primaries and transfer function of sRGB in ITU-T H.273, which the PNG chunk cICP uses."""


@dataclass(frozen=True)
class LosslessImage:
    """Store an upright image with all its bits.

    Attributes:
        image: mode L, LA, RGB or RGBA; the high bytes of a 16-bit image. `image.info` contains only what the file has
            of `icc_profile` (bytes), `dpi` (two numbers) and `exif` (bytes; the date and the camera).
        low_bytes: low bytes of a 16-bit image in the same mode; None for 8 bits.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes made while loading, one sentence each. File names and profile names in notes are untrusted.
        profile: color profile of the values; None is sRGB.
    """

    image: Image.Image
    low_bytes: Image.Image | None
    sha256: str
    notes: tuple[str, ...]
    profile: ColorProfile | None = None

    @property
    def special_properties(self) -> tuple[str, ...]:
        """Return the names of the properties that 8-bit RGB in sRGB does not have, for a note."""
        return (
            *(("gray mode",) if self.image.mode in ("L", "LA") else ()),
            *(("alpha channel",) if self.image.mode.endswith("A") else ()),
            *(("16 bits per channel",) if self.low_bytes is not None else ()),
            *(("color profile",) if self.profile is not None else ()),
        )

    @property
    def is_plain_rgb(self) -> bool:
        """Return whether the image is 8-bit RGB without transparency and without a profile."""
        return not self.special_properties


def load_lossless(path: Path, *, max_pixels: int = MAX_PIXELS) -> LosslessImage:
    """Load an image with its channels, bits and color profile. Apply the EXIF orientation.

    CMYK is converted to sRGB. 16 bits per channel are kept, except for a TIFF with compressed planes or with
    premultiplied alpha: these are loaded with their high 8 bits, and a note.

    Raises:
        InputFileError: The file cannot be used; the message contains the path and the reason.
    """
    return lossless_from(decode_image(path, max_pixels), path)


def lossless_from(decoded: DecodedImage, path: Path) -> LosslessImage:
    """Return a decoded image with its channels, bits and color profile, upright."""
    low: Image.Image | None
    if (high_and_low := split_bytes(decoded)) is not None:
        image, low = high_and_low
        notes = transparent_color_note(decoded.image, path)
        alpha = None
    else:
        parts = split_alpha(decoded, path)
        image, low, notes, alpha = parts.color, None, parts.notes, parts.alpha
    profile, profile_notes = read_color_profile(decoded, drop_alpha(image).mode, path)
    if image.mode == "CMYK":
        name = f"from the profile '{profile.name}' " if profile else ""
        profile_notes = (*profile_notes, f"The CMYK colors of '{path.name}' are converted {name}to sRGB.")
        image, profile = to_srgb(image, profile), None
    if alpha is not None:
        image.putalpha(alpha)
    if decoded.exif_transpose is not None:
        image = image.transpose(decoded.exif_transpose)
        low = low.transpose(decoded.exif_transpose) if low else None
    attributes = {
        "icc_profile": profile and profile.data,
        "dpi": resolution(decoded),
        "exif": harmless_exif(decoded.image),
    }
    image.info = {name: value for name, value in attributes.items() if value is not None}
    if low is not None:
        low.info = {}
    return LosslessImage(image, low, decoded.sha256, (*decoded.notes, *notes, *profile_notes), profile)


def read_color_profile(decoded: DecodedImage, mode: str, path: Path) -> tuple[ColorProfile | None, tuple[str, ...]]:
    """Return the color profile of an image whose colors have `mode` (L, RGB or CMYK), and notes about ignored data."""
    icc_profile = decoded.image.info.get("icc_profile", b"")
    try:
        if icc_profile is None:  # Pillow cannot decompress it
            raise ValueError("the profile is damaged")
        profile = read_profile(icc_profile, mode)
    except ValueError:
        return None, (f"The color profile of '{path.name}' is ignored: it is not valid for the image.",)
    if profile is not None or "srgb" in decoded.image.info:
        return profile, ()
    return None, tuple(
        f"The color space in the PNG chunk {chunk} of '{path.name}' is ignored; the colors are read as sRGB."
        for chunk in _color_space_chunks(decoded)
    )


def _color_space_chunks(decoded: DecodedImage) -> Iterator[str]:
    """Yield the PNG chunks that declare another color space than sRGB (https://www.w3.org/TR/png-3/#4Concepts)."""
    info = decoded.image.info
    cicp = decoded.raw_bytes.find(b"cICP", 0, max(0, decoded.raw_bytes.find(b"IDAT")))
    if decoded.image.format == "PNG" and cicp >= 0 and decoded.raw_bytes[cicp + 4 : cicp + 6] != _SRGB_CICP:
        yield "cICP"
    if abs(info.get("gamma", _SRGB_GAMMA) - _SRGB_GAMMA) > _PNG_TOLERANCE:
        yield "gAMA"
    found = info.get("chromaticity", _SRGB_CHROMATICITY)
    if max(abs(a - b) for a, b in zip(found, _SRGB_CHROMATICITY, strict=False)) > _PNG_TOLERANCE:
        yield "cHRM"


def split_bytes(decoded: DecodedImage) -> tuple[Image.Image, Image.Image] | None:
    """Return the high and low bytes of a 16-bit image in one mode (L, LA, RGB or RGBA); None for other images."""
    image = decoded.image
    if image.mode.startswith("I;16"):
        first, second = (Image.frombytes("L", image.size, image.tobytes()[offset::2]) for offset in (0, 1))
        return (first, second) if image.mode == "I;16B" else (second, first)
    if "transparency" in image.info or not decoded.has_16_bits:
        return None
    if decoded.rawmode == _GRAY_ALPHA_RAWMODE:
        high, low, high_alpha, low_alpha = decoded.redecode("RGBA").split()
        return Image.merge("LA", (high, high_alpha)), Image.merge("LA", (low, low_alpha))
    low_bytes = decoded.low_byte_image()
    return None if low_bytes is None else (image, low_bytes)


def drop_alpha(image: Image.Image) -> Image.Image:
    """Return the color channels, mode L or RGB, without blending them with a background."""
    mode = image.mode.removesuffix("A")
    return image if mode == image.mode else Image.merge(mode, image.split()[: len(mode)])
