"""Split decoded images of any mode into 8-bit colors and transparency."""

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.errors import InputFileError
from artgen.images.decoding import DecodedImage


@dataclass(frozen=True)
class ColorAndAlpha:
    """Store the channels of a decoded image.

    Attributes:
        color: mode L, RGB or CMYK, 8 bits.
        alpha: mode L, 255 is opaque; None if the file has no transparency.
        notes: changes, one sentence each.
    """

    color: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]

    @property
    def is_opaque(self) -> bool:
        """Return whether all pixels are opaque."""
        return self.alpha is None or self.alpha.getextrema() == (255, 255)


def split_alpha(decoded: DecodedImage, path: Path) -> ColorAndAlpha:
    """Split a decoded image of any mode into 8-bit colors and transparency.

    Raises:
        InputFileError: A floating-point image contains NaN or infinity.
    """
    image = decoded.image
    if image.mode == "F" or image.mode.startswith("I"):
        gray, note = _to_uint8(image, path)
        return ColorAndAlpha(gray, None, (note, *transparent_color_note(image, path)))
    notes = (f"Only the high 8 bits of the 16-bit values in '{path.name}' are used.",) if decoded.has_16_bits else ()
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        color = rgba.convert("RGB")
        is_gray = image.mode in ("1", "L", "LA", "La")
        return ColorAndAlpha(color.getchannel("R") if is_gray else color, rgba.getchannel("A"), notes)
    if image.mode == "1":
        return ColorAndAlpha(image.convert("L"), None, ())
    if image.mode in ("L", "RGB", "CMYK"):
        return ColorAndAlpha(image, None, notes)
    return ColorAndAlpha(image.convert("RGB"), None, notes)


def transparent_color_note(image: Image.Image, path: Path) -> tuple[str, ...]:
    """Return a note if a 16-bit gray image declares one transparent gray value, which artgen does not read."""
    return (f"The transparent gray value of '{path.name}' is ignored.",) if "transparency" in image.info else ()


def _to_uint8(image: Image.Image, path: Path) -> tuple[Image.Image, str]:
    """Scale 16-bit, 32-bit and floating-point gray values to 0..255 without clipping. Return the image and a note."""
    low, high = _value_range(image, path)
    if image.mode != "F" and low >= 0 and high <= 65535:
        start, width, note = 0.0, 65535.0, f"The 16-bit values of '{path.name}' are scaled to 8 bits."
    elif image.mode == "F" and low >= 0 and high <= 1:
        start, width, note = 0.0, 1.0, f"The values 0..1 of '{path.name}' are scaled to 8 bits."
    elif image.mode == "F" and low >= 0 and high <= 255:
        start, width, note = 0.0, 255.0, f"The values 0..255 of '{path.name}' are rounded to 8 bits."
    else:
        start, width = low, (high - low) or 1.0
        note = f"The values {low:g}..{high:g} of '{path.name}' are scaled to 8 bits."
    scale = 255.0 / width
    # `convert` truncates, so 0.5 is added for rounding
    scaled = image.convert("F").point(lambda value: value * scale + (0.5 - start * scale))
    return scaled.convert("L"), note


def _value_range(image: Image.Image, path: Path) -> tuple[float, float]:
    if image.mode == "F":
        import numpy  # Pillow's extrema skip NaN

        values = numpy.asarray(image)
        if not numpy.isfinite(values).all():
            raise InputFileError(f"Cannot use '{path}': it contains NaN or infinity.")
        return float(values.min()), float(values.max())
    extrema = image.convert("I").getextrema()
    low, high = (float(value) for value in extrema if not isinstance(value, tuple))
    return (low, high) if math.isfinite(low) else (0.0, 65535.0)
