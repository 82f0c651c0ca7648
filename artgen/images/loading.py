"""One loader for every picture that is drawn from: any mode in, upright 8-bit sRGB out."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageColor

from artgen.errors import InputFileError, UsageError
from artgen.images.decoding import MAX_PIXELS, DecodedImage, decode_image


@dataclass(frozen=True)
class LoadedImage:
    """A picture ready to be drawn from.

    Attributes:
        image: mode RGB, upright, sRGB, without any of the file's metadata.
        alpha: mode L, 255 = opaque; None when every pixel is opaque.
        sha256: of the file's bytes, 64 hex digits.
        notes: what was changed on the way in, one sentence each; file names and profile names in them are untrusted.
    """

    image: Image.Image
    alpha: Image.Image | None
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ColorAndAlpha:
    """Colours (mode L, RGB or CMYK, 8 bits) and transparency (mode L or None) of a decoded picture."""

    color: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]


def load_image(path: Path, *, background: str = "white", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Load a picture as upright 8-bit sRGB.

    The EXIF orientation is applied, an embedded colour profile is converted to sRGB, 16-bit values are scaled, the
    first frame of an animation is taken, transparency is laid over `background`. No EXIF is kept: an input's GPS
    position must not reach an output.

    Args:
        path: a PNG, JPEG, WebP, TIFF, BMP or GIF file; the content counts, not the suffix.
        background: a CSS colour name, `#rrggbb` or `rgb(r, g, b)`.
        max_pixels: largest width times height, 1 or more.

    Raises:
        InputFileError: the file cannot be used; the message has the path and what is wrong.
        UsageError: `background` is not a colour.
    """
    colour = _parse_color(background)
    decoded = decode_image(path, max_pixels)
    parts = split_alpha(decoded, path)
    notes = [*decoded.notes, *parts.notes]
    rgb, note = to_srgb(parts.color, decoded.image.info.get("icc_profile"), path)
    notes += note
    alpha = parts.alpha
    if decoded.exif_transpose is not None:
        rgb = rgb.transpose(decoded.exif_transpose)
        alpha = alpha.transpose(decoded.exif_transpose) if alpha else None
    clean = Image.new("RGB", rgb.size, colour)
    clean.paste(rgb, (0, 0), alpha)
    if alpha is not None:
        alpha.info = {}
        notes.append(f"the transparent parts of '{path.name}' are laid over {background}")
    return LoadedImage(clean, alpha, decoded.sha256, tuple(notes))


def split_alpha(decoded: DecodedImage, path: Path) -> ColorAndAlpha:
    """Split a decoded picture of any mode into 8-bit colours and transparency.

    Raises:
        InputFileError: a floating-point picture holds NaN or infinity.
    """
    image = decoded.image
    if image.mode == "F" or image.mode.startswith("I"):
        grey, note = _to_uint8(image, path)
        return ColorAndAlpha(grey, None, (note,))
    notes = (f"of the 16 bits of each value in '{path.name}' the upper 8 are used",) if decoded.has_16_bits else ()
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        whole = image.convert("RGBA")
        alpha: Image.Image | None = whole.getchannel("A")
        if alpha is not None and alpha.getextrema() == (255, 255):
            alpha = None
        return ColorAndAlpha(whole.convert("RGB"), alpha, notes)
    if image.mode == "1":
        return ColorAndAlpha(image.convert("L"), None, ())
    if image.mode in ("L", "RGB", "CMYK"):
        return ColorAndAlpha(image, None, notes)
    return ColorAndAlpha(image.convert("RGB"), None, notes)


def _to_uint8(image: Image.Image, path: Path) -> tuple[Image.Image, str]:
    """Bring 16-bit, 32-bit and floating-point greys to 0..255 without clipping."""
    low, high = _value_range(image, path)
    if image.mode != "F" and low >= 0 and high <= 65535:
        start, width, note = 0.0, 65535.0, f"the 16-bit values of '{path.name}' are scaled to 8 bits"
    elif image.mode == "F" and low >= 0 and high <= 1:
        start, width, note = 0.0, 1.0, f"the values 0..1 of '{path.name}' are scaled to 8 bits"
    elif image.mode == "F" and low >= 0 and high <= 255:
        start, width, note = 0.0, 255.0, f"the values 0..255 of '{path.name}' are rounded to 8 bits"
    else:
        start, width = low, (high - low) or 1.0
        note = f"the values {low:g}..{high:g} of '{path.name}' are scaled to 8 bits"
    scale = 255.0 / width
    # a linear point transform; the half makes the truncation that follows a rounding
    wide = image.convert("F").point(lambda value: value * scale + (0.5 - start * scale))
    return wide.convert("L"), note


def _value_range(image: Image.Image, path: Path) -> tuple[float, float]:
    if image.mode == "F":
        import numpy  # Pillow's extrema skip NaN

        values = numpy.asarray(image)
        if not numpy.isfinite(values).all():
            raise InputFileError(f"'{path}' holds values that are not numbers (NaN or infinity)")
        return float(values.min()), float(values.max())
    extrema = image.convert("I").getextrema()
    low, high = (float(value) for value in extrema if not isinstance(value, tuple))
    return (low, high) if math.isfinite(low) else (0.0, 65535.0)


def to_srgb(image: Image.Image, icc_profile: object, path: Path) -> tuple[Image.Image, list[str]]:
    """Colours (mode L, RGB or CMYK) as mode RGB in sRGB, by the file's own profile, and what to say of it."""
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
            raise ValueError(f"a {space} profile on a {image.mode} picture")
        result = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if result is None:
            raise ValueError("no conversion")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), [f"the colour profile of '{path.name}' cannot be used and is ignored"]
    return result, [f"the colours of '{path.name}' are converted from the profile '{name}' to sRGB"]


def _parse_color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not a colour", "Use a name such as white, or #rrggbb, or rgb(255, 255, 255)."
        ) from error
    return red, green, blue
