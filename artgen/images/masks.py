"""Masks: what is repainted, and putting the repainted part back so that nothing else changes."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter, ImageOps

from artgen.errors import InputFileError
from artgen.images.decoding import MAX_PIXELS, decode_image
from artgen.images.loading import split_alpha

WARN_COVERAGE_FRACTION = 0.95


@dataclass(frozen=True)
class LoadedMask:
    """A mask ready for use.

    Attributes:
        mask: mode L, 255 = repaint, 0 = keep, values between blend.
        coverage: part of the pixels with any value above 0, over 0 and up to 1.
        sha256: of the file's bytes, 64 hex digits.
        notes: what was decided or deserves attention, one sentence each; file names in them are untrusted.
    """

    mask: Image.Image
    coverage: float
    sha256: str
    notes: tuple[str, ...]


def load_mask(path: Path, size: tuple[int, int], *, invert: bool = False, resize: bool = False) -> LoadedMask:
    """Load a mask for a picture of `size`; white is repainted.

    Brightness counts. A picture of one single colour with varying transparency is read by its transparency (opaque
    is repainted); otherwise transparent pixels count as black.

    Args:
        path: a picture file as for `load_image`; embedded colour profiles are ignored, values are data here.
        size: width and height of the picture that is repainted.
        invert: black is repainted instead.
        resize: resize a mask of another size, bilinearly with antialiasing: nearest-neighbour would lose thin strokes
            when it shrinks and give stairs when it grows.

    Raises:
        InputFileError: the file cannot be used, its size is another one (without `resize`), or nothing is repainted.
    """
    decoded = decode_image(path, MAX_PIXELS)
    parts = split_alpha(decoded, path)
    notes = [*decoded.notes, *parts.notes]
    mask = parts.color.convert("L")
    if parts.alpha is not None and _is_single_color(parts.color) and not _is_single_color(parts.alpha):
        mask = parts.alpha
        notes.append(f"the mask '{path.name}' has one colour only; its transparency is used: opaque is repainted")
    elif parts.alpha is not None:
        mask = Image.composite(mask, Image.new("L", mask.size, 0), parts.alpha)
        notes.append(f"the mask '{path.name}' has transparent parts; they count as black")
    if decoded.exif_transpose is not None:
        mask = mask.transpose(decoded.exif_transpose)
    mask = ImageOps.invert(mask) if invert else mask.copy()
    mask.info = {}
    if mask.size != size:
        if not resize:
            raise InputFileError(
                f"the mask '{path}' is {mask.width}x{mask.height} and the picture is {size[0]}x{size[1]}",
                "Use a mask of the picture's size, or add --resize-mask.",
            )
        notes.append(f"the mask '{path.name}' is resized from {mask.width}x{mask.height} to {size[0]}x{size[1]}")
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    share = 1 - mask.histogram()[0] / (size[0] * size[1])
    if share <= 0:
        raise InputFileError(
            f"the mask '{path}' repaints nothing: it is black everywhere{' once inverted' if invert else ''}",
            "White is repainted; leave out --invert-mask." if invert else "White is repainted; try --invert-mask.",
        )
    if share > WARN_COVERAGE_FRACTION:
        notes.append(f"the mask '{path.name}' repaints {share:.1%} of the picture; --invert-mask repaints the rest")
    return LoadedMask(mask, share, decoded.sha256, tuple(notes))


def composite(source: Image.Image, generated: Image.Image, mask: Image.Image) -> Image.Image:
    """Put `generated` over `source` where `mask` says so.

    Pixels where the mask is 0 are byte-identical to `source`, where it is 255 to `generated`; between, the result is
    the linear blend, rounded.

    Args:
        source: the untouched picture.
        generated: same size and mode.
        mask: same size, mode L, 0..255.

    Raises:
        ValueError: sizes or modes differ.
    """
    if source.size != generated.size or source.size != mask.size or source.mode != generated.mode or mask.mode != "L":
        raise ValueError(
            f"cannot composite {generated.mode} {generated.size} over {source.mode} {source.size} "
            f"with a {mask.mode} mask {mask.size}"
        )
    return Image.composite(generated, source, mask)


def feather(mask: Image.Image, radius: float) -> Image.Image:
    """Soften a mask inwards: the darker of the mask and its Gaussian blur.

    Pixels where the mask is 0 stay 0, so what `composite` keeps stays kept; no pixel gets brighter. At a straight
    edge the result begins near the half and reaches the full value about two radii inside.

    Args:
        mask: mode L.
        radius: standard deviation in pixels, 0 or more; 0 changes nothing.

    Raises:
        ValueError: `radius` is negative.
    """
    if radius < 0:
        raise ValueError(f"radius is {radius}; 0 or more is wanted")
    if radius == 0:
        return mask.copy()
    return ImageChops.darker(mask, mask.filter(ImageFilter.GaussianBlur(radius)))


def _is_single_color(image: Image.Image) -> bool:
    return all(channel.getextrema()[0] == channel.getextrema()[1] for channel in image.split())
