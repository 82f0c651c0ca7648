"""Generate dead-leaves images: synthetic images with the statistics of photographs.

Shapes of all sizes cover each other until the background is full (Lee, Mumford and Huang 2001). A denoiser learns
nearly as well from them as from photographs (Achddou, Gousseau and Ladjal 2021, arXiv 2103.09003). Colors and textures
are taken from the training photographs. Writes `leaves.npy`, uint8 of shape (images, 256, 256, 3).
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from patches import load_photographs
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256
MIN_RADIUS_PX, MAX_RADIUS_PX = 3.0, 160.0


def sample_radius(random: np.random.Generator) -> float:
    """Sample a radius in pixels with density r^-3, which makes the images scale-invariant."""
    low, high = MIN_RADIUS_PX**-2.0, MAX_RADIUS_PX**-2.0
    return float((low + random.random() * (high - low)) ** -0.5)


def sample_outline(random: np.random.Generator, size: float, center: np.ndarray) -> list[tuple[float, float]]:
    """Sample the outline of a shape around `center`: a blob, a box or a polygon."""
    kind = random.random()
    if kind < 0.5:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        factors = np.ones(48)
        for n in (2, 3, 5):
            factors += random.uniform(0, 0.25) * np.cos(n * angles + random.uniform(0, 7))
        points = size * factors[:, None] * np.stack([np.cos(angles), np.sin(angles) * random.uniform(0.4, 1)], 1)
    elif kind < 0.75:
        width, height = size * random.uniform(0.15, 1.4, 2)
        points = np.array([(-width, -height), (width, -height), (width, height), (-width, height)])
    else:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 8)))
        points = size * np.stack([np.cos(angles), np.sin(angles)], 1)
    rotation = random.uniform(0, 2 * np.pi)
    rotated = points @ np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]]) + center
    return [(float(x), float(y)) for x, y in rotated]


def sample_texture(random: np.random.Generator, photographs: list[np.ndarray], side: int) -> Image.Image:
    """Sample the texture of a shape, (side, side): a flat color, a color gradient, or a crop of a photograph."""
    photograph = photographs[random.integers(len(photographs))]
    row, column = (int(random.integers(0, n - 2)) for n in photograph.shape[:2])
    color = photograph[row, column].astype(np.float32)
    kind = random.random()
    if kind < 0.35:
        return Image.new("RGB", (side, side), tuple(int(c) for c in color))
    if kind < 0.6:
        slope = np.linspace(-1, 1, side, dtype=np.float32)
        across = random.uniform(-1, 1, 3) * slope[:, None, None] + random.uniform(-1, 1, 3) * slope[None, :, None]
        return Image.fromarray((color + 40 * across).clip(0, 255).astype(np.uint8))
    edge = min(side, *photograph.shape[:2])
    row, column = (int(random.integers(0, n - edge + 1)) for n in photograph.shape[:2])
    crop = photograph[row : row + edge, column : column + edge].astype(np.float32)
    if kind < 0.8:  # only the texture, with another color
        crop = color + (crop - crop.mean((0, 1))) * random.uniform(0.3, 1.2)
    return Image.fromarray(crop.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def render_image(seed: int, raw: Path) -> np.ndarray:
    """Render one image at twice the size and downscale it, for antialiased edges."""
    random = np.random.default_rng(seed)
    photographs = [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in load_photographs(raw)]
    side = 2 * SIDE
    image = sample_texture(random, photographs, side)
    scale = 2 ** random.uniform(0.0, 3.0)
    covered = 0.0
    while covered < 2.5 * side * side:
        size = scale * sample_radius(random)
        center = random.uniform(-0.1, 1.1, 2) * side
        shape = sample_outline(random, size, center)
        box = min(side, max(8, int(2 * size) + 2))
        left, top = int(center[0] - box / 2), int(center[1] - box / 2)
        mask = Image.new("L", (box, box), 0)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in shape], fill=255)
        image.paste(sample_texture(random, photographs, box), (left, top), mask)
        covered += size * size
    if random.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 2.0)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_denoiser"))
    parser.add_argument("--images", "--pictures", type=int, default=200)
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        images = list(pool.map(partial(render_image, raw=options.data), range(options.images), chunksize=8))
    np.save(options.work / "leaves.npy", np.stack(images))
    print(len(images), "images")


if __name__ == "__main__":
    main()
