"""Shapes to train at: each picture keeps about its own, and pictures of one shape make a batch.

Aspect-ratio bucketing after NovelAI, "NovelAI improvements on Stable Diffusion", 2022: instead of one square crop for
all, sides in steps whose product does not exceed that square's.
"""

import math
import random as chance

from PIL import Image

MAX_ASPECT_RATIO = 2.0
"""Longer side to shorter side of a bucket at most, as in NovelAI's; what is longer is cropped."""


def nearest_bucket(width: int, height: int, resolution: int, multiple: int) -> tuple[int, int]:
    """The shape that a picture is trained at: of all (width, height) that are allowed, the nearest to its own.

    Both sides are multiples of `multiple`, their product is at most resolution**2, and the larger is at most twice the
    smaller. One side is as long as the other leaves room for, so that no bucket is needlessly small.

    Args:
        width, height: of the picture, upright, 1 or more.
        resolution: side of the square with the most pixels allowed, at least `multiple`.
        multiple: what the model's sides are multiples of; 8 for Stable Diffusion's autoencoder, 64 for all its levels.

    Raises:
        ValueError: a side, the resolution or the multiple is too small.
    """
    if min(width, height, multiple) < 1 or resolution < multiple:
        raise ValueError(f"no bucket for {width}x{height} at resolution {resolution} in multiples of {multiple}")
    shape = math.log(width / height)
    # Among equally near ones the larger; then the upright one, so that the answer never depends on an order.
    return min(
        _list_buckets(resolution, multiple),
        key=lambda size: (round(abs(math.log(size[0] / size[1]) - shape), 9), -size[0] * size[1], size),
    )


def _list_buckets(resolution: int, multiple: int) -> set[tuple[int, int]]:
    found = set()
    for short in range(multiple, resolution + 1, multiple):
        long = min(resolution**2 // short, int(short * MAX_ASPECT_RATIO)) // multiple * multiple
        if long >= short:
            # Short ends of the range are allowed only where no more pixels fit into their shape.
            found |= {(short, long), (long, short)} if _is_full_bucket(short, long, resolution, multiple) else set()
    return found or {(multiple, multiple)}


def _is_full_bucket(short: int, long: int, resolution: int, multiple: int) -> bool:
    return (short + multiple) * (long + multiple) > resolution**2


def resize_and_crop(image: Image.Image, size: tuple[int, int], crop: str, rng: chance.Random) -> Image.Image:
    """The picture at a bucket's size: resized until it covers it, and what juts out cut off.

    Args:
        image: any size, mode RGB.
        size: width and height in pixels.
        crop: center or random: which part is kept.
        rng: decides where a random crop begins; not asked for a centred one.
    """
    width, height = size
    scale = max(width / image.width, height / image.height)
    covered = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    if covered != image.size:
        image = image.resize(covered, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = covered[0] - width, covered[1] - height
    at = (rng.randint(0, left), rng.randint(0, top)) if crop == "random" else (left // 2, top // 2)
    return image.crop((*at, at[0] + width, at[1] + height))


def cropped_fraction(width: int, height: int, size: tuple[int, int]) -> float:
    """The share of a picture, 0 to 1, that is cut off at a bucket's shape."""
    kept = min(width / size[0], height / size[1])
    return max(0.0, 1 - kept * kept * size[0] * size[1] / (width * height))
