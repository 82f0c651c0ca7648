"""Draws the pictures of the README with the bundled model, as a reader could.

    python examples/readme/make.py

Writes anomaly.png (two apples beside normal ones), fox.png, frames.gif (how the fox came about), noise.png (how noise
takes it over), img2img.png (four pictures redrawn at two strengths), inpaint.png (four things replaced) and sweep.png
(a sweep's own sheet) beside this file. Nothing is selected: the first seed is taken.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from artgen import Img2Img, Inpaint, Txt2Img, generate

HERE = Path(__file__).parent
ENLARGED = 128
GAP = 6
SEED = 0

REDRAWN = (
    ("a red apple", "a green apple"),
    ("a yellow car", "a blue car"),
    ("a cat", "a dog"),
    ("a sunflower", "a tulip"),
)
REPLACED = (
    ("two apples", "a star"),
    ("two strawberries", "a carrot"),
    ("two sunflowers", "a tulip"),
    ("two cats", "a blue car"),
)


def shown(picture: Image.Image) -> Image.Image:
    """A picture enlarged so that a reader sees it."""
    return picture.resize((ENLARGED, ENLARGED), Image.Resampling.LANCZOS)


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures on white."""
    across, down = max(len(row) for row in rows), len(rows)
    paper = Image.new("RGB", (across * (ENLARGED + GAP) - GAP, down * (ENLARGED + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            paper.paste(shown(picture), (x * (ENLARGED + GAP), y * (ENLARGED + GAP)))
    return paper


def right_half(size: tuple[int, int]) -> Image.Image:
    """A mask over the right half."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((size[0] // 2, 0, *size), fill=255)
    return mask


def redrawn(folder: Path) -> Image.Image:
    """Source, strength 0.3 and strength 0.9, one column a picture."""
    columns = []
    for number, (before, after) in enumerate(REDRAWN):
        source = folder / f"redraw-{number}.png"
        drawn = generate(Txt2Img(prompt=before, seed=SEED, model="tiny")).image
        drawn.save(source)
        changed = [
            generate(Img2Img(image=source, prompt=after, seed=SEED + 1, strength=strength, model="tiny")).image
            for strength in (0.3, 0.9)
        ]
        columns.append([drawn, *changed])
    return sheet([list(row) for row in zip(*columns, strict=True)])


def replaced(folder: Path) -> Image.Image:
    """Source, mask and result, one column a picture."""
    columns = []
    for number, (before, after) in enumerate(REPLACED):
        source, mask = folder / f"replace-{number}.png", folder / f"mask-{number}.png"
        drawn = generate(Txt2Img(prompt=before, seed=SEED, model="tiny")).image
        drawn.save(source)
        right_half(drawn.size).save(mask)
        result = generate(Inpaint(image=source, mask=mask, prompt=after, seed=SEED + 1, model="tiny")).image
        columns.append([drawn, right_half(drawn.size).convert("RGB"), result])
    return sheet([list(row) for row in zip(*columns, strict=True)])


def come_about(folder: Path) -> None:
    """The fox's making, and its unmaking by noise in 256 colours, which are enough for it."""
    fox = ["txt2img", "a red fox in the snow", "--seed", str(SEED), "--steps", "30", "-m", "tiny"]
    frames = ["-o", f"{folder}/made.png", "--frames", str(HERE / "frames.gif"), "--frame-interval", "2", "--overwrite"]
    subprocess.run([sys.executable, "-m", "artgen", *fox, *frames], check=True)
    noise = ["noise", f"{folder}/made.png", "--steps", "8", "-o", f"{folder}/noise.png"]
    subprocess.run([sys.executable, "-m", "artgen", *noise], check=True)
    with Image.open(f"{folder}/noise.png") as found:
        found.quantize(256).save(HERE / "noise.png", optimize=True)


def looked_at(folder: Path) -> Image.Image:
    """Two apples beside 20 normal ones: one that is whole, and one with a spot repainted."""
    whole, hurt, mask = folder / "new/whole.png", folder / "new/hurt.png", folder / "spot.png"
    artgen = [sys.executable, "-m", "artgen"]
    apples = ["txt2img", "a red apple", "-m", "tiny", "--count", "20", "--seed", "100", "-o", f"{folder}/normal/"]
    subprocess.run([*artgen, *apples], check=True)
    drawn = generate(Txt2Img(prompt="a red apple", seed=SEED, model="tiny")).image
    whole.parent.mkdir()
    drawn.save(whole)
    spot = Image.new("L", drawn.size)
    ImageDraw.Draw(spot).ellipse((38, 66, 66, 94), fill=255)
    spot.save(mask)
    generate(Inpaint(image=whole, mask=mask, prompt="a green leaf", seed=SEED, model="tiny")).image.save(hurt)
    words = ["anomaly", f"{folder}/new", "--fit", f"{folder}/normal", "--map", f"{folder}/maps"]
    subprocess.run([*artgen, *words], check=True)
    maps = [Image.open(folder / "maps" / name).convert("RGB") for name in ("whole.png", "hurt.png")]
    paper = Image.new("RGB", (max(each.width for each in maps), sum(each.height for each in maps)), "white")
    for number, each in enumerate(maps):
        paper.paste(each, (0, number * maps[0].height))
    return paper


def main() -> None:
    import tempfile

    fox = generate(Txt2Img(prompt="a red fox in the snow", seed=SEED, model="tiny")).image
    fox.resize((256, 256), Image.Resampling.LANCZOS).save(HERE / "fox.png", optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        redrawn(Path(folder)).save(HERE / "img2img.png", optimize=True)
        replaced(Path(folder)).save(HERE / "inpaint.png", optimize=True)
        words = ["txt2img", "a red fox in the snow", "--seed", "7", "-m", "tiny"]
        sweep = ["--sweep", "steps=2,6", "--sweep", "guidance=1:5:2", "-o", f"{folder}/sweep/"]
        subprocess.run([sys.executable, "-m", "artgen", *words, *sweep], check=True)
        with Image.open(f"{folder}/sweep/sheet.png") as found:
            found.save(HERE / "sweep.png", optimize=True)
        come_about(Path(folder))
        looked_at(Path(folder)).save(HERE / "anomaly.png", optimize=True)


if __name__ == "__main__":
    main()
