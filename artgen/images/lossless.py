"""Load images without loss: keep gray, transparency and 16 bits per channel."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.images.decoding import MAX_PIXELS, DecodedImage, decode_image
from artgen.images.loading import split_alpha, to_srgb

_GRAY_ALPHA_RAWMODE = "LA;16B"
"""Raw mode of 16-bit gray with alpha. Decoded as RGBA it gives the high and low bytes of both channels."""


@dataclass(frozen=True)
class LosslessImage:
    """Store an upright image with all its bits and without metadata.

    Attributes:
        image: mode L, LA, RGB or RGBA; the high bytes of a 16-bit image.
        low_bytes: low bytes of a 16-bit image in the same mode; None for 8 bits.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes made while loading, one sentence each. File names and profile names in notes are untrusted.
    """

    image: Image.Image
    low_bytes: Image.Image | None
    sha256: str
    notes: tuple[str, ...]


def load_lossless(path: Path, *, max_pixels: int = MAX_PIXELS) -> LosslessImage:
    """Load an image with its channels and bits. Apply the EXIF orientation.

    8-bit colors are converted to sRGB. 16 bits per channel are kept, except for a TIFF with compressed planes, with
    premultiplied alpha, or in CMYK: these are loaded with their high 8 bits, and a note.

    Raises:
        InputFileError: The file cannot be used; the message contains the path and the reason.
    """
    decoded = decode_image(path, max_pixels)
    notes = list(decoded.notes)
    image: Image.Image
    low: Image.Image | None = None
    if (high_and_low := _split_bytes(decoded)) is not None:
        image, low = high_and_low
        if decoded.image.info.get("icc_profile"):
            notes.append(f"The color profile of '{path.name}' is ignored: 16-bit values are not converted.")
    else:
        parts = split_alpha(decoded, path)
        is_gray = parts.color.mode == "L" or decoded.image.mode.startswith("L")
        colors, profile_notes = to_srgb(parts.color, decoded.image.info.get("icc_profile"), path)
        image = colors.convert("L") if is_gray else colors
        notes += [*parts.notes, *profile_notes]
        if parts.alpha is not None:
            image.putalpha(parts.alpha)
    if decoded.exif_transpose is not None:
        image = image.transpose(decoded.exif_transpose)
        low = low.transpose(decoded.exif_transpose) if low else None
    for each in (image, low) if low is not None else (image,):
        each.info = {}
    return LosslessImage(image, low, decoded.sha256, tuple(notes))


def _split_bytes(decoded: DecodedImage) -> tuple[Image.Image, Image.Image] | None:
    """Return the high and low bytes of a 16-bit image in one mode, None for other images."""
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
    return Image.merge(mode, image.split()[: len(mode)])
