"""Load input images of any mode as upright 8-bit sRGB."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageColor

from artgen.errors import UsageError
from artgen.images.channels import split_alpha
from artgen.images.color_profiles import to_srgb
from artgen.images.decoding import MAX_PIXELS, decode_image
from artgen.images.editing import convert_to_srgb
from artgen.images.lossless import LosslessImage, drop_alpha, lossless_from, read_color_profile, split_bytes


@dataclass(frozen=True)
class LoadedImage:
    """Store an input image for generation.

    Attributes:
        image: mode RGB, upright, sRGB, without metadata.
        alpha: mode L, 255 is opaque; None if all pixels are opaque.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes made while loading, one sentence each. File names and profile names in notes are untrusted.
        source: all channels and bits of the file; None if `image` has all of them, or if they were not requested.
    """

    image: Image.Image
    alpha: Image.Image | None
    sha256: str
    notes: tuple[str, ...]
    source: LosslessImage | None = None


def load_image(
    path: Path, *, background: str = "white", max_pixels: int = MAX_PIXELS, keep_source: bool = False
) -> LoadedImage:
    """Load an image as upright 8-bit sRGB.

    The EXIF orientation is applied, an embedded color profile is converted to sRGB, 16-bit values are scaled, the first
    frame of an animation is selected, and transparent pixels are blended with `background`. EXIF data is dropped: the
    GPS position of an input must not reach an output.

    Args:
        path: image file of one of `FORMAT_NAMES`; the content selects the decoder, not the suffix.
        background: CSS color name, `#rrggbb` or `rgb(r, g, b)`.
        max_pixels: limit of width times height, >= 1.
        keep_source: also return what `image` loses: gray mode, transparency, 16 bits per channel, color profile.

    Raises:
        InputFileError: The file cannot be used; the message contains the path and the reason.
        UsageError: `background` is not a color.
    """
    background_rgb = _parse_color(background)
    decoded = decode_image(path, max_pixels)
    parts = split_alpha(decoded, path)
    profile, profile_notes = read_color_profile(decoded, parts.color.mode, path)
    notes = [*decoded.notes, *parts.notes, *profile_notes]
    rgb = to_srgb(parts.color, profile)
    if profile is not None and not profile.is_srgb:
        if (bytes_of_16bit := split_bytes(decoded)) is not None:
            rgb = to_srgb(drop_alpha(bytes_of_16bit[0]), profile, drop_alpha(bytes_of_16bit[1]))
            notes = [*decoded.notes, f"The 16-bit values of '{path.name}' are scaled to 8 bits."]
        notes.append(
            f"The colors of '{path.name}' are converted to sRGB. The embedded color profile is named '{profile.name}'."
        )
    elif parts.color.mode == "CMYK":
        notes.append(f"The CMYK colors of '{path.name}' are converted to sRGB.")
    alpha = None if parts.is_opaque else parts.alpha
    if decoded.exif_transpose is not None:
        rgb = rgb.transpose(decoded.exif_transpose)
        alpha = alpha.transpose(decoded.exif_transpose) if alpha else None
    clean = Image.new("RGB", rgb.size, background_rgb)
    clean.paste(rgb, (0, 0), alpha)
    if alpha is not None:
        alpha.info = {}
        notes.append(f"Transparent pixels of '{path.name}' are blended with the background {background}.")
    source = _kept_source(lossless_from(decoded, path)) if keep_source else None
    return LoadedImage(clean, alpha, decoded.sha256, tuple(notes), source)


def _kept_source(source: LosslessImage) -> LosslessImage | None:
    """Return an image without resolution and EXIF data; None for plain RGB. Convert a one-way profile to sRGB."""
    image, low_bytes, profile = source.image, source.low_bytes, source.profile
    if profile is not None and not profile.is_invertible:
        image, low_bytes = convert_to_srgb(image, low_bytes)
        profile = None
    image.info = {} if profile is None else {"icc_profile": profile.data}
    kept = replace(source, image=image, low_bytes=low_bytes, profile=profile)
    return None if kept.is_plain_rgb else kept


def _parse_color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not a color.", "Use a name such as white, #rrggbb, or rgb(255, 255, 255)."
        ) from error
    return red, green, blue
