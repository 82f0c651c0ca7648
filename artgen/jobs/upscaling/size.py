"""Compute the size of an enlarged image."""

from artgen import images
from artgen.errors import UsageError
from artgen.spec.restoration_requests import Upscale
from artgen.spec.settings import MAX_SIDE_PX

DEFAULT_FACTOR = 2.0


def upscaled_size(request: Upscale, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the width and height of the enlarged image in pixels, and notes.

    Args:
        request: request.
        size: width and height of the input image in pixels.

    Raises:
        UsageError: the result would be smaller than the input image, as large, or larger than the limit.
    """
    notes: tuple[str, ...] = ()
    if request.target_size is None:
        factor = DEFAULT_FACTOR if request.by is None else request.by
        setting, wanted = f"--by {factor:g}", (round(size[0] * factor), round(size[1] * factor))
    else:
        width, height = images.parse_size(request.target_size)
        setting = f"--target-size {width}x{height}"
        wanted = _fit_inside(size, (width, height))
        if wanted != (width, height):
            notes = (
                f"The result has {wanted[0]}x{wanted[1]} pixels: {width}x{height} has another aspect ratio than the "
                f"image, which is {size[0]}x{size[1]}.",
            )
    source = f"the image, which is {size[0]}x{size[1]}"
    if max(wanted) > MAX_SIDE_PX:
        raise UsageError(
            f"Cannot upscale to {wanted[0]}x{wanted[1]}: both sides can have at most {MAX_SIDE_PX:,} pixels.",
            f"Use --by {MAX_SIDE_PX / max(size):.4g} or less for {source}.",
            settings=("by", "target_size"),
        )
    if wanted[0] < size[0] or wanted[1] < size[1]:
        raise UsageError(
            f"{setting} is smaller than {source}.",
            "Use a larger size. To reduce an image: artgen img2img input.png --strength 0 --max-side 512",
            settings=("by", "target_size"),
        )
    if wanted == size and not request.is_redraw:
        raise UsageError(
            f"{setting} does not enlarge {source}.",
            "Use a larger size. To generate details at the same size, add --method redraw.",
            settings=("by", "target_size"),
        )
    return wanted, notes


def _fit_inside(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size with the aspect ratio of `size` that fits into `box`.

    The result is `box` itself if its sides differ by less than one pixel from the aspect ratio.
    """
    scale = min(box[0] / size[0], box[1] / size[1])
    fitted = (size[0] * scale, size[1] * scale)
    if all(abs(found - side) < 1 for found, side in zip(fitted, box, strict=True)):
        return box
    return max(1, round(fitted[0])), max(1, round(fitted[1]))
