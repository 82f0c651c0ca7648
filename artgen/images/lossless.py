"""A picture as its file has it: grey stays grey, transparency stays transparency, 16 bits stay 16 bits."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.images.decoding import MAX_PIXELS, DecodedImage, decode_image
from artgen.images.loading import split_alpha, to_srgb

_GRAY_ALPHA_RAWMODE = "LA;16B"
"""16-bit grey with transparency; read as four plain bytes it gives upper and lower bytes of both."""


@dataclass(frozen=True)
class LosslessImage:
    """A picture upright, with all its bits, without any of the file's metadata.

    Attributes:
        image: mode L, LA, RGB or RGBA; of 16-bit pictures the upper bytes.
        low_bytes: in the same mode the lower bytes; None for 8 bits.
        sha256: of the file's bytes, 64 hex digits.
        notes: what was changed on the way in; file names and profile names in them are untrusted.
    """

    image: Image.Image
    low_bytes: Image.Image | None
    sha256: str
    notes: tuple[str, ...]


def load_lossless(path: Path, *, max_pixels: int = MAX_PIXELS) -> LosslessImage:
    """Load a picture with its own channels and bits; the EXIF orientation is applied.

    8-bit colours are converted to sRGB. 16 bits a channel are kept, except in a TIFF whose planes are compressed,
    whose colours are multiplied by their transparency, or which is CMYK: of these, with a note, the upper 8.

    Raises:
        InputFileError: the file cannot be used; the message has the path and what is wrong.
    """
    decoded = decode_image(path, max_pixels)
    notes = list(decoded.notes)
    image: Image.Image
    low: Image.Image | None = None
    if (wide := _split_bytes(decoded)) is not None:
        image, low = wide
        if decoded.image.info.get("icc_profile"):
            notes.append(f"the colour profile of '{path.name}' is ignored: its 16-bit values are kept as they are")
    else:
        parts = split_alpha(decoded, path)
        grey = parts.color.mode == "L" or decoded.image.mode.startswith("L")
        colours, said = to_srgb(parts.color, decoded.image.info.get("icc_profile"), path)
        image = colours.convert("L") if grey else colours
        notes += [*parts.notes, *said]
        if parts.alpha is not None:
            image.putalpha(parts.alpha)
    if decoded.exif_transpose is not None:
        image = image.transpose(decoded.exif_transpose)
        low = low.transpose(decoded.exif_transpose) if low else None
    for each in (image, low) if low is not None else (image,):
        each.info = {}
    return LosslessImage(image, low, decoded.sha256, tuple(notes))


def _split_bytes(decoded: DecodedImage) -> tuple[Image.Image, Image.Image] | None:
    """Upper and lower bytes of a 16-bit picture in one mode, None for any other."""
    image = decoded.image
    if image.mode.startswith("I;16"):
        first, second = (Image.frombytes("L", image.size, image.tobytes()[at::2]) for at in (0, 1))
        return (first, second) if image.mode == "I;16B" else (second, first)
    if "transparency" in image.info or not decoded.has_16_bits:
        return None
    if decoded.rawmode == _GRAY_ALPHA_RAWMODE:
        high, low, high_alpha, low_alpha = decoded.redecode("RGBA").split()
        return Image.merge("LA", (high, high_alpha)), Image.merge("LA", (low, low_alpha))
    lower = decoded.low_byte_image()
    return None if lower is None else (image, lower)


def drop_alpha(image: Image.Image) -> Image.Image:
    """The colours alone, mode L or RGB, of a picture with or without transparency; nothing is laid behind them."""
    mode = image.mode.removesuffix("A")
    return Image.merge(mode, image.split()[: len(mode)])
