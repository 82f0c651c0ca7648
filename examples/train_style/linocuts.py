"""Render the training images: sixteen objects as linocuts, with captions and provenance."""

import argparse
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from shapes import DARK, HELD_OUT, HOLE, LIGHT, TRAINING_SHAPES, Shape

TRIGGER = "linoprint"
"""Trigger word of the style. The bundled model is not trained on this word."""

SIDE_PX = 256
RENDER_SIDE_PX = 512
"""Side of the rendered image in pixels, before downscaling."""
OUTLINE_PX = 21
"""Width of the dark line around light parts, in pixels of the rendered image."""
PAPER, INK, SECOND_INK = "#efe3c6", "#1d2a44", "#e2673a"
TONES = {HOLE: 0, DARK: 1, LIGHT: 255}


def render_tones(shapes: tuple[Shape, ...]) -> Image.Image:
    """Render an object in its tones, mode L."""
    image = Image.new("L", (RENDER_SIDE_PX, RENDER_SIDE_PX), TONES[HOLE])
    draw = ImageDraw.Draw(image)
    for kind, tone, numbers in shapes:
        points = [number * RENDER_SIDE_PX / 100 for number in numbers]
        if kind == "line":
            draw.line(points, TONES[tone], RENDER_SIDE_PX // 20, joint="curve")
        elif kind == "pieslice":
            draw.pieslice(points[:4], numbers[4], numbers[5], fill=TONES[tone])
        else:
            getattr(draw, kind)(points, fill=TONES[tone])
    return image


def render_linocut(shapes: tuple[Shape, ...], seed: int) -> Image.Image:
    """Render an object as a two-block print: an orange disc under the object in dark ink without its light parts."""
    rng = random.Random(seed)
    sheet = Image.new("RGB", (RENDER_SIDE_PX, RENDER_SIDE_PX), PAPER)
    x, y, radius = rng.uniform(0.46, 0.54), rng.uniform(0.44, 0.5), rng.uniform(0.36, 0.42)
    disc = [RENDER_SIDE_PX * side for side in (x - radius, y - radius, x + radius, y + radius)]
    ImageDraw.Draw(sheet).ellipse(disc, fill=SECOND_INK)
    thing = render_tones(shapes)
    sheet.paste(INK, (0, 0), thing.point(lambda value: 255 * (value > 0)))
    sheet.paste(PAPER, (0, 0), thing.point(lambda value: 255 * (value > 1)).filter(ImageFilter.MinFilter(OUTLINE_PX)))
    return sheet.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def write_provenance(folder: Path, source: str) -> None:
    """Write the provenance of all images of a folder."""
    entry = {"file_name": "*", "source": source, "author": "the artgen authors", "license": "CC0-1.0"}
    entry["consent"] = "rendered by a program for this purpose"
    (folder / "provenance.jsonl").write_text(json.dumps(entry) + "\n")


def write_images(things: dict[str, tuple[Shape, ...]], folder: Path, first: int) -> None:
    """Write an image of each object, its caption, and the provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, shapes) in enumerate(things.items(), first):
        path = folder / f"{name.partition(' ')[2].replace(' ', '-')}.png"
        render_linocut(shapes, number).save(path)
        path.with_suffix(".txt").write_text(f"{TRIGGER}, {name}\n")
    write_provenance(folder, "examples/train_style/linocuts.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/train_style"))
    out = parser.parse_args().out
    write_images(TRAINING_SHAPES, out / "images" / TRIGGER, 0)
    write_images(HELD_OUT, out / "held-out", len(TRAINING_SHAPES))


if __name__ == "__main__":
    main()
