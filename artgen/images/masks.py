"""Load inpainting masks, and composite the generated pixels so that all other pixels stay unchanged."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter, ImageOps

from artgen.errors import InputFileError
from artgen.images.decoding import MAX_PIXELS, decode_image
from artgen.images.mask_values import MAX_BLACK, MIN_WHITE, read_mask_values

WARN_COVERAGE_FRACTION = 0.95

NOTE_GRAY_FRACTION = 0.5
"""Fraction of gray pixels above which a file is possibly not a mask."""


@dataclass(frozen=True)
class LoadedMask:
    """Store an inpainting mask.

    Attributes:
        mask: mode L; 255 is generated, 0 is kept, values in between are blended, or strengths in a soft mask.
        coverage: fraction of the pixels with a value above 0, in (0, 1].
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes and warnings, one sentence each. File names in notes are untrusted.
    """

    mask: Image.Image
    coverage: float
    sha256: str
    notes: tuple[str, ...]


def load_mask(
    path: Path, size: tuple[int, int], *, invert: bool = False, resize: bool = False, soft: bool = False
) -> LoadedMask:
    """Load a mask for an image of `size`; white pixels are generated.

    The mask is the brightness of the file, scaled so that the brightest value is 255; values up to 8 are black. If the
    visible pixels have one color and the transparency varies, the mask is the alpha channel (opaque pixels are
    generated); otherwise transparent pixels are black.

    Args:
        path: image file, see `load_image`; embedded color profiles are ignored.
        size: width and height of the input image.
        invert: generate the black pixels instead.
        resize: resize a mask of another size, bilinear with antialiasing: nearest-neighbor interpolation loses thin
            strokes when shrinking and creates stairs when enlarging.
        soft: the gray values are strengths and are not scaled.

    Raises:
        InputFileError: The file cannot be used, it is a label map or has several colors, its size differs from `size`
            (without `resize`), or the mask is empty.
    """
    decoded = decode_image(path, MAX_PIXELS)
    mask, value_notes = read_mask_values(decoded, path, invert=invert, soft=soft)
    notes = [*decoded.notes, *value_notes]
    if decoded.exif_transpose is not None:
        mask = mask.transpose(decoded.exif_transpose)
    if invert:
        mask = ImageOps.invert(mask)
        if any(mask.histogram()[1 : MAX_BLACK + 1]):
            notes.append(f"Values of the mask '{path.name}' from {255 - MAX_BLACK} of 255 count as white.")
            mask = mask.point([0 if level <= MAX_BLACK else level for level in range(256)])
    mask.info = {}
    if mask.size != size:
        if not resize:
            raise InputFileError(
                f"The mask '{path}' is {mask.width}x{mask.height}, but the image is {size[0]}x{size[1]}.",
                "Use a mask of the image's size, or add --resize-mask.",
            )
        notes.append(f"The mask '{path.name}' is resized from {mask.width}x{mask.height} to {size[0]}x{size[1]}.")
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    coverage = 1 - mask.histogram()[0] / (size[0] * size[1])
    if coverage <= 0:
        raise InputFileError(
            f"The mask '{path}' is empty: all pixels are "
            f"{'white, which --invert-mask keeps' if invert else f'black (at most {MAX_BLACK} of 255)'}.",
            f"White pixels are generated; {'omit' if invert else 'try'} --invert-mask.",
        )
    if coverage > WARN_COVERAGE_FRACTION:
        option = "without --invert-mask it" if invert else "--invert-mask"
        notes.append(f"The mask '{path.name}' covers {coverage:.1%} of the image; {option} selects the rest.")
    gray = sum(mask.histogram()[1:MIN_WHITE]) / (size[0] * size[1])
    if soft and not any(mask.histogram()[1:255]):
        notes.append(f"The mask '{path.name}' has no gray values, so --soft-mask has no effect.")
    if gray > NOTE_GRAY_FRACTION and not soft:
        notes.append(f"{gray:.1%} of the mask '{path.name}' is gray, so these pixels are blended.")
    return LoadedMask(mask, coverage, decoded.sha256, tuple(notes))


def composite(source: Image.Image, generated: Image.Image, mask: Image.Image) -> Image.Image:
    """Composite `generated` over `source` with a mask.

    Pixels with mask value 0 are byte-identical to `source`, pixels with 255 to `generated`. Other values give the
    rounded linear blend.

    Args:
        source: input image.
        generated: generated image, same size and mode.
        mask: same size, mode L, 0 to 255.

    Raises:
        ValueError: Sizes or modes differ.
    """
    if source.size != generated.size or source.size != mask.size or source.mode != generated.mode or mask.mode != "L":
        raise ValueError(
            f"cannot composite {generated.mode} {generated.size} over {source.mode} {source.size} "
            f"with a {mask.mode} mask {mask.size}"
        )
    return Image.composite(generated, source, mask)


def repainted_pixels(mask: Image.Image) -> Image.Image:
    """Return a mask (mode L) that is 255 where `mask` is above 0, and 0 elsewhere."""
    return mask.point([0] + [255] * 255)


def feather(mask: Image.Image, radius: float) -> Image.Image:
    """Soften a mask towards its inside: return the darker value of the mask and its Gaussian blur.

    Pixels with value 0 stay 0, so `composite` still keeps them, and no pixel becomes brighter. At a straight edge the
    result starts near one half and reaches the full value about two radii inside.

    Args:
        mask: mode L.
        radius: standard deviation in pixels, >= 0; 0 does not change the mask.

    Raises:
        ValueError: `radius` is negative.
    """
    if radius < 0:
        raise ValueError(f"radius is {radius}; it must be >= 0")
    if radius == 0:
        return mask.copy()
    return ImageChops.darker(mask, mask.filter(ImageFilter.GaussianBlur(radius)))
