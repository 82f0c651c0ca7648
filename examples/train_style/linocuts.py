"""Draws the pictures to learn from: sixteen things as linocuts, with captions and where they come from."""

import argparse
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from things import DARK, HELD_OUT, HOLE, LIGHT, SHOWN, Shape

TRIGGER = "linoprint"
"""The word that is to call the style; the model does not know it."""

SIDE = 256
FINE = 512
"""Pixels a side that are drawn, before they are made smaller."""
LINE = 21
"""Width of the dark line around light parts, in fine pixels."""
PAPER, INK, SECOND_INK = "#efe3c6", "#1d2a44", "#e2673a"
TONES = {HOLE: 0, DARK: 1, LIGHT: 255}


def tones(shapes: tuple[Shape, ...]) -> Image.Image:
    """A thing in its tones, mode L."""
    picture = Image.new("L", (FINE, FINE), TONES[HOLE])
    pen = ImageDraw.Draw(picture)
    for kind, tone, numbers in shapes:
        places = [number * FINE / 100 for number in numbers]
        if kind == "line":
            pen.line(places, TONES[tone], FINE // 20, joint="curve")
        elif kind == "pieslice":
            pen.pieslice(places[:4], numbers[4], numbers[5], fill=TONES[tone])
        else:
            getattr(pen, kind)(places, fill=TONES[tone])
    return picture


def linocut(shapes: tuple[Shape, ...], seed: int) -> Image.Image:
    """A thing as a print from two blocks: a disc in orange, over it the thing in dark ink, its light parts cut out."""
    chance = random.Random(seed)
    sheet = Image.new("RGB", (FINE, FINE), PAPER)
    x, y, radius = chance.uniform(0.46, 0.54), chance.uniform(0.44, 0.5), chance.uniform(0.36, 0.42)
    disc = [FINE * side for side in (x - radius, y - radius, x + radius, y + radius)]
    ImageDraw.Draw(sheet).ellipse(disc, fill=SECOND_INK)
    thing = tones(shapes)
    sheet.paste(INK, (0, 0), thing.point(lambda value: 255 * (value > 0)))
    sheet.paste(PAPER, (0, 0), thing.point(lambda value: 255 * (value > 1)).filter(ImageFilter.MinFilter(LINE)))
    return sheet.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def provenance(folder: Path, source: str) -> None:
    """Writes where all pictures of a folder come from."""
    entry = {"file_name": "*", "source": source, "author": "the artgen authors", "licence": "CC0-1.0"}
    entry["consent"] = "drawn by a program for this purpose"
    (folder / "provenance.jsonl").write_text(json.dumps(entry) + "\n")


def write(things: dict[str, tuple[Shape, ...]], folder: Path, first: int) -> None:
    """A picture of each thing, its caption beside it, and where they come from."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, shapes) in enumerate(things.items(), first):
        path = folder / f"{name.partition(' ')[2].replace(' ', '-')}.png"
        linocut(shapes, number).save(path)
        path.with_suffix(".txt").write_text(f"{TRIGGER}, {name}\n")
    provenance(folder, "examples/train_style/linocuts.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/train_style"))
    out = parser.parse_args().out
    write(SHOWN, out / "pictures" / TRIGGER, 0)
    write(HELD_OUT, out / "held-out", len(SHOWN))


if __name__ == "__main__":
    main()
