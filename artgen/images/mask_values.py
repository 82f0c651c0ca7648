"""Read the values of a mask from an image of any mode: 0 keeps a pixel, 255 replaces it.

A mask is white and gray on black, one color on black, or one color with transparency. Its brightest value counts as
white, except in a soft mask, whose gray values are strengths. Label maps and images with several colors are refused,
because each label needs its own mask.
"""

from pathlib import Path

from PIL import Image, ImageChops

from artgen.errors import InputFileError
from artgen.images.channels import split_alpha
from artgen.images.decoding import DecodedImage

MAX_BLACK = 8
"""Largest value that counts as black: the background of a mask in JPEG is not exactly 0."""

MIN_WHITE = 247
"""Smallest maximum of a mask that is scaled without a note."""

_MAX_LABEL = 31
"""Largest maximum of an image that is a label map if it has more values than 0 and the maximum."""

_MAX_CHROMA = 32
"""Largest difference of the channels of a gray pixel."""

_HUE_TOLERANCE = 24
_MAX_LOSSY_OUTLIERS = 0.05
"""Fraction of pixels whose hue may differ in lossy formats, which change the colors at edges."""

_LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
_ONE_MASK_HINT = "Save a mask in which the area to repaint is white and the rest is black."


def read_mask_values(
    decoded: DecodedImage, path: Path, *, invert: bool = False, soft: bool = False
) -> tuple[Image.Image, tuple[str, ...]]:
    """Return the values of a mask (mode L, not inverted, not transposed) and notes about their interpretation.

    Args:
        decoded: decoded file.
        path: path of the file, for messages.
        invert: whether the caller inverts the mask, for notes.
        soft: do not scale the values.

    Raises:
        InputFileError: The image is a label map or has several colors.
    """
    is_lossy = decoded.image.format in _LOSSY_FORMATS
    notes: tuple[str, ...] = ()
    if decoded.image.mode == "F" or decoded.image.mode.startswith("I"):
        values = _scale_wide_values(decoded.image, path)
    else:
        values, notes = _read_8bit_values(decoded, path, is_lossy, invert)
    histogram = values.histogram()
    levels = [level for level in range(256) if histogram[level]]
    highest = levels[-1]
    is_label_map = highest <= _MAX_LABEL and len(levels) > 1 and (len(levels) > 2 or levels[0] > 0)
    if highest <= MAX_BLACK and (is_lossy or soft or len(levels) == 1):
        return Image.new("L", values.size, 0), notes
    if is_label_map and not soft:
        raise InputFileError(
            f"The mask '{path}' is a label map with {len(levels)} values from {levels[0]} to {highest}, not a mask.",
            _ONE_MASK_HINT,
        )
    if highest > MAX_BLACK and any(0 < level <= MAX_BLACK for level in levels):
        notes = (*notes, f"Values of the mask '{path.name}' from 1 to {MAX_BLACK} of 255 count as black.")
    if soft:
        return values.point([0 if level <= MAX_BLACK else level for level in range(256)]), notes
    if highest < MIN_WHITE:
        notes = (*notes, f"The brightest value of the mask '{path.name}' is {highest} of 255; it counts as white.")
    black = MAX_BLACK if highest > MAX_BLACK else 0
    return values.point(
        [0 if level <= black else min(255, round(level * 255 / highest)) for level in range(256)]
    ), notes


def _scale_wide_values(image: Image.Image, path: Path) -> Image.Image:
    """Return 16-bit, 32-bit or floating-point values in 8 bits, relative to the maximum of their range."""
    import numpy  # the import takes longer than many commands

    values = numpy.asarray(image).astype(numpy.float64)
    if not numpy.isfinite(values).all():
        raise InputFileError(f"Cannot use '{path}': it contains NaN or infinity.")
    values -= min(0.0, float(values.min()))
    highest = float(values.max())
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    maximum = next((value for value in ranges if highest <= value), highest)
    return Image.fromarray(numpy.rint(values / maximum * 255).astype(numpy.uint8), "L")


def _read_8bit_values(
    decoded: DecodedImage, path: Path, is_lossy: bool, invert: bool
) -> tuple[Image.Image, tuple[str, ...]]:
    parts = split_alpha(decoded, path)
    color, notes = parts.color.convert("L" if parts.color.mode == "L" else "RGB"), parts.notes
    if parts.alpha is not None and not parts.is_opaque:
        if _has_one_visible_color(color, parts.alpha):
            repainted, other = ("transparent", "opaque") if invert else ("opaque", "transparent")
            option = "omit" if invert else "add"
            return parts.alpha, (
                *notes,
                f"The mask '{path.name}' has one color, so its transparency is the mask: {repainted} pixels are "
                f"repainted. To repaint the {other} pixels, {option} --invert-mask.",
            )
        color = Image.composite(color, Image.new(color.mode, color.size), parts.alpha)
        notes = (*notes, f"Transparent pixels of the mask '{path.name}' are read as black.")
    if color.mode == "L":
        return color, notes
    channels = color.split()
    brightest = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    darkest = ImageChops.darker(ImageChops.darker(channels[0], channels[1]), channels[2])
    if _highest(ImageChops.subtract(brightest, darkest)) <= _MAX_CHROMA:
        return brightest, notes
    if not _has_one_hue(color, brightest, _MAX_LOSSY_OUTLIERS if is_lossy else 0):
        raise InputFileError(f"The mask '{path}' has several colors.", _ONE_MASK_HINT)
    return brightest, (*notes, f"The mask '{path.name}' has one color on black; the colored pixels are repainted.")


def _has_one_visible_color(color: Image.Image, alpha: Image.Image) -> bool:
    """Return whether all pixels that are not transparent have the same color. The transparency must vary."""
    visible = alpha.point([0 if value <= MAX_BLACK else 255 for value in range(256)])
    lowest_alpha, highest_alpha = alpha.getextrema()
    if lowest_alpha == highest_alpha:
        return False
    pixel = visible.getbbox()
    if pixel is None:
        return False
    histogram = color.histogram(visible)
    return all(
        sum(1 for count in histogram[start : start + 256] if count) == 1 for start in range(0, len(histogram), 256)
    )


def _has_one_hue(color: Image.Image, brightest: Image.Image, max_outliers: float) -> bool:
    """Return whether all pixels are multiples of one color."""
    import numpy  # as above

    pixels, value = numpy.asarray(color).astype(numpy.float32), numpy.asarray(brightest).astype(numpy.float32)
    is_bright = value >= 0.9 * value.max()
    hue = (pixels[is_bright] / value[is_bright][:, None]).mean(axis=0)
    deviation = numpy.abs(pixels - value[..., None] * hue).max(axis=-1)
    return float((deviation > _HUE_TOLERANCE).mean()) <= max_outliers


def _highest(image: Image.Image) -> int:
    return max(level for level, count in enumerate(image.histogram()) if count)
