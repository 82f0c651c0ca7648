"""Load input images of any mode as upright 8-bit sRGB."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageColor

from artgen.errors import InputFileError, UsageError
from artgen.images.decoding import MAX_PIXELS, DecodedImage, decode_image


@dataclass(frozen=True)
class LoadedImage:
    """Store an input image for generation.

    Attributes:
        image: mode RGB, upright, sRGB, without metadata.
        alpha: mode L, 255 is opaque; None if all pixels are opaque.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes made while loading, one sentence each. File names and profile names in notes are untrusted.
    """

    image: Image.Image
    alpha: Image.Image | None
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ColorAndAlpha:
    """Store the colors (mode L, RGB or CMYK, 8 bits) and the transparency (mode L or None) of a decoded image."""

    color: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]


def load_image(path: Path, *, background: str = "white", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Load an image as upright 8-bit sRGB.

    The EXIF orientation is applied, an embedded color profile is converted to sRGB, 16-bit values are scaled, the first
    frame of an animation is selected, and transparent pixels are blended with `background`. EXIF data is dropped: the
    GPS position of an input must not reach an output.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP or GIF file; the content selects the decoder, not the suffix.
        background: CSS color name, `#rrggbb` or `rgb(r, g, b)`.
        max_pixels: limit of width times height, >= 1.

    Raises:
        InputFileError: The file cannot be used; the message contains the path and the reason.
        UsageError: `background` is not a color.
    """
    background_rgb = _parse_color(background)
    decoded = decode_image(path, max_pixels)
    parts = split_alpha(decoded, path)
    notes = [*decoded.notes, *parts.notes]
    rgb, profile_notes = to_srgb(parts.color, decoded.image.info.get("icc_profile"), path)
    notes += profile_notes
    alpha = parts.alpha
    if decoded.exif_transpose is not None:
        rgb = rgb.transpose(decoded.exif_transpose)
        alpha = alpha.transpose(decoded.exif_transpose) if alpha else None
    clean = Image.new("RGB", rgb.size, background_rgb)
    clean.paste(rgb, (0, 0), alpha)
    if alpha is not None:
        alpha.info = {}
        notes.append(f"Transparent pixels of '{path.name}' are blended with the background {background}.")
    return LoadedImage(clean, alpha, decoded.sha256, tuple(notes))


def split_alpha(decoded: DecodedImage, path: Path) -> ColorAndAlpha:
    """Split a decoded image of any mode into 8-bit colors and transparency.

    Raises:
        InputFileError: A floating-point image contains NaN or infinity.
    """
    image = decoded.image
    if image.mode == "F" or image.mode.startswith("I"):
        gray, note = _to_uint8(image, path)
        return ColorAndAlpha(gray, None, (note,))
    notes = (f"Only the high 8 bits of the 16-bit values in '{path.name}' are used.",) if decoded.has_16_bits else ()
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        alpha: Image.Image | None = rgba.getchannel("A")
        if alpha is not None and alpha.getextrema() == (255, 255):
            alpha = None
        return ColorAndAlpha(rgba.convert("RGB"), alpha, notes)
    if image.mode == "1":
        return ColorAndAlpha(image.convert("L"), None, ())
    if image.mode in ("L", "RGB", "CMYK"):
        return ColorAndAlpha(image, None, notes)
    return ColorAndAlpha(image.convert("RGB"), None, notes)


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


def to_srgb(image: Image.Image, icc_profile: object, path: Path) -> tuple[Image.Image, list[str]]:
    """Convert colors (mode L, RGB or CMYK) to mode RGB in sRGB with the embedded profile. Return image and notes."""
    if not isinstance(icc_profile, bytes) or not icc_profile:
        return image.convert("RGB"), []
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        name = ImageCms.getProfileDescription(source).strip()
        space = str(source.profile.xcolor_space).strip()
        if space == "RGB" and "srgb" in name.lower():
            return image.convert("RGB"), []
        if space == "GRAY":
            image = image.convert("L")
        elif space == "RGB":
            image = image.convert("RGB")
        elif space != image.mode:
            raise ValueError(f"a {space} profile for a {image.mode} image")
        result = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if result is None:
            raise ValueError("no conversion")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), [f"The color profile of '{path.name}' is ignored: it is not valid for the image."]
    return result, [f"The colors of '{path.name}' are converted from the profile '{name}' to sRGB."]


def _parse_color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not a color.", "Use a name such as white, #rrggbb, or rgb(255, 255, 255)."
        ) from error
    return red, green, blue
