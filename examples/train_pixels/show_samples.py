"""Write an image with training images (above) and samples (below), enlarged, without selection."""

import argparse
from pathlib import Path

from PIL import Image

COLUMNS, ROWS = 16, 2
"""Columns, and rows of each kind of image."""
ENLARGEMENT = 2
GAP_PX = 16
"""Distance between the training images and the samples in pixels."""


def arrange(paths: list[Path]) -> Image.Image:
    """Return the first images on a grid, enlarged without interpolation. Empty places are white."""
    images = [Image.open(path).convert("RGB") for path in paths[: COLUMNS * ROWS]]
    side = images[0].width * ENLARGEMENT
    grid = Image.new("RGB", (COLUMNS * side, ROWS * side), "white")
    for index, image in enumerate(images):
        enlarged = image.resize((side, side), Image.Resampling.NEAREST)
        grid.paste(enlarged, (index % COLUMNS * side, index // COLUMNS * side))
    return grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_pixels"))
    parser.add_argument("--out", type=Path, default=Path("data/train_pixels/comparison.png"))
    arguments = parser.parse_args()
    grids = [arrange(sorted((arguments.data / name).glob("*.png"))) for name in ("images", "samples")]
    sheet = Image.new("RGB", (grids[0].width, 2 * grids[0].height + GAP_PX), "white")
    sheet.paste(grids[0], (0, 0))
    sheet.paste(grids[1], (0, grids[0].height + GAP_PX))
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
