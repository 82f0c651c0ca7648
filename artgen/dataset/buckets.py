"""Select the training size of an image by aspect-ratio bucketing.

NovelAI, "NovelAI improvements on Stable Diffusion", 2022: instead of one square, there are several sizes (buckets) with
at most the area of that square. An image is trained at the bucket with the nearest aspect ratio.
"""

import math
import random

from PIL import Image

MAX_ASPECT_RATIO = 2.0
"""Maximum ratio of the longer to the shorter side of a bucket, as in NovelAI's. Longer images are cropped."""


def nearest_bucket(width: int, height: int, resolution: int, multiple: int) -> tuple[int, int]:
    """Return the bucket (width, height in pixels) with the aspect ratio nearest to the image.

    Both sides are multiples of `multiple`, their product is at most resolution**2, and the longer side is at most twice
    the shorter side. No bucket is smaller than necessary: each side is as long as the other side allows.

    Args:
        width: width of the upright image in pixels, at least 1.
        height: height of the upright image in pixels, at least 1.
        resolution: side of the square with the maximum area in pixels, at least `multiple`.
        multiple: divisor of all sides; 8 for the VAE of Stable Diffusion, 64 for all levels of its UNet.

    Raises:
        ValueError: a side, the resolution or the multiple is too small.
    """
    if min(width, height, multiple) < 1 or resolution < multiple:
        raise ValueError(f"no bucket for {width}x{height} at resolution {resolution} in multiples of {multiple}")
    log_ratio = math.log(width / height)
    # Ties: the larger bucket, then the portrait one, so that the result does not depend on the order of the set.
    return min(
        _list_buckets(resolution, multiple),
        key=lambda size: (round(abs(math.log(size[0] / size[1]) - log_ratio), 9), -size[0] * size[1], size),
    )


def _list_buckets(resolution: int, multiple: int) -> set[tuple[int, int]]:
    buckets = set()
    for short in range(multiple, resolution + 1, multiple):
        long = min(resolution**2 // short, int(short * MAX_ASPECT_RATIO)) // multiple * multiple
        if long >= short and _is_full_bucket(short, long, resolution, multiple):
            buckets |= {(short, long), (long, short)}
    return buckets or {(multiple, multiple)}


def _is_full_bucket(short: int, long: int, resolution: int, multiple: int) -> bool:
    """Return whether both sides cannot grow by one step."""
    return (short + multiple) * (long + multiple) > resolution**2


def resize_and_crop(image: Image.Image, size: tuple[int, int], crop: str, rng: random.Random) -> Image.Image:
    """Resize an image until it covers a bucket, then crop it to the bucket.

    Args:
        image: image of any size, mode RGB.
        size: width and height of the bucket in pixels.
        crop: `center` or `random`, the position of the crop.
        rng: source of the position of a random crop; unused for `center`.
    """
    width, height = size
    scale = max(width / image.width, height / image.height)
    covered = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    if covered != image.size:
        image = image.resize(covered, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = covered[0] - width, covered[1] - height
    offset = (rng.randint(0, left), rng.randint(0, top)) if crop == "random" else (left // 2, top // 2)
    return image.crop((*offset, offset[0] + width, offset[1] + height))


def cropped_fraction(width: int, height: int, size: tuple[int, int]) -> float:
    """Return the fraction of an image's area, 0 to 1, that is cropped for a bucket."""
    scale = min(width / size[0], height / size[1])
    return max(0.0, 1 - scale * scale * size[0] * size[1] / (width * height))
