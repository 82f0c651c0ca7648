"""Render the training images: small landscapes with a sky, a sun or a moon, two mountain ridges and a lake."""

import argparse
import colorsys
import itertools
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw

SIDE_PX = 32
RENDER_SIDE_PX = 128
"""Side of the rendered image in pixels, before downscaling."""

Color = tuple[float, float, float]
"""Hue, saturation and value, 0 to 1."""

PALETTES: dict[str, tuple[Color, Color, Color, Color]] = {
    "day": ((0.58, 0.65, 0.85), (0.54, 0.25, 0.97), (0.14, 0.35, 1.0), (0.36, 0.45, 0.40)),
    "dawn": ((0.72, 0.40, 0.60), (0.05, 0.50, 1.00), (0.12, 0.45, 1.0), (0.80, 0.35, 0.35)),
    "dusk": ((0.68, 0.60, 0.40), (0.98, 0.70, 0.90), (0.07, 0.75, 1.0), (0.75, 0.55, 0.22)),
    "night": ((0.65, 0.80, 0.15), (0.60, 0.60, 0.40), (0.15, 0.08, 0.98), (0.64, 0.60, 0.13)),
}
"""Colors of the top of the sky, of the horizon, of the sun or moon, and of the near ridge, by time of day."""


def to_rgb(color: Color, rng: random.Random, spread: float = 0.03) -> tuple[int, int, int]:
    """Return a random color near a color, 0 to 255 per channel."""
    hue, saturation, value = (part + rng.uniform(-spread, spread) for part in color)
    channels = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def mix(first: tuple[int, int, int], second: tuple[int, int, int], weight: float) -> tuple[int, int, int]:
    """Return the mean of two colors; `weight` is the weight of the second color, 0 to 1."""
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ridge(rng: random.Random, height: float, roughness: float) -> list[float]:
    """Return a height for each column of the image, by midpoint displacement (Fournier et al. 1982)."""
    heights = [height + rng.uniform(-roughness, roughness) for _ in range(3)]
    while len(heights) <= RENDER_SIDE_PX:
        roughness /= 2
        middles = [(a + b) / 2 + rng.uniform(-roughness, roughness) for a, b in itertools.pairwise(heights)]
        heights = [value for pair in zip(heights, middles, strict=False) for value in pair] + heights[-1:]
    return heights[:RENDER_SIDE_PX]


def render_landscape(seed: int) -> Image.Image:
    """Return a landscape that depends only on the seed."""
    rng = random.Random(seed)
    top, horizon, light, near = (to_rgb(color, rng) for color in PALETTES[rng.choice(list(PALETTES))])
    side, waterline = RENDER_SIDE_PX, round(RENDER_SIDE_PX * rng.uniform(0.72, 0.8))
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    for y in range(waterline):
        draw.line((0, y, side, y), mix(top, horizon, y / waterline))
    x, y, radius = rng.uniform(0.15, 0.85) * side, rng.uniform(0.15, 0.45) * side, rng.uniform(0.07, 0.12) * side
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), light)
    for height, roughness, color in ((0.45, 0.16, mix(near, horizon, 0.55)), (0.24, 0.12, near)):
        for column, value in enumerate(ridge(rng, height * side, roughness * side)):
            draw.line((column, waterline - max(value, 2), column, waterline), color)
    reflection = image.crop((0, 2 * waterline - side, side, waterline)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image.paste(Image.blend(reflection, Image.new("RGB", reflection.size, top), 0.35), (0, waterline))
    return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def write_images(folder: Path, count: int) -> None:
    """Write the images and their provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        render_landscape(seed).save(folder / f"{seed:04}.png")
    entry = {
        "file_name": "*",
        "source": "examples/train_pixels/landscapes.py",
        "author": "the artgen authors",
        "license": "CC0-1.0",
        "consent": "rendered by a program for this purpose",
    }
    (folder / "provenance.jsonl").write_text(json.dumps(entry) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/train_pixels/images"))
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    write_images(arguments.out, arguments.count)


if __name__ == "__main__":
    main()
