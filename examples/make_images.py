"""Generate the images of the documentation and the inputs of the examples with the bundled model.

    python examples/make_images.py

Writes to `examples/inputs/` and `docs/images/`, except `style.png` (see `examples/train_style`). Each image uses
the first seed; no image is selected.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from artgen import Img2Img, Inpaint, Txt2Img, generate

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ROOT / "examples" / "inputs"
DOCS_IMAGES = ROOT / "docs" / "images"
CELL_PX = 128
GAP_PX = 6
SEED = 0
NOISE_SIGMA = 25

IMG2IMG_PROMPTS = (
    ("a red apple", "a green apple"),
    ("a yellow car", "a blue car"),
    ("a cat", "a dog"),
    ("a sunflower", "a tulip"),
)
INPAINT_PROMPTS = (
    ("two apples", "a star"),
    ("two strawberries", "a carrot"),
    ("two sunflowers", "a tulip"),
    ("two cats", "a blue car"),
)


def run(*arguments: str) -> None:
    """Run an artgen command with the bundled model as the default."""
    subprocess.run([sys.executable, "-m", "artgen", *arguments], check=True)


def txt2img(prompt: str, seed: int = SEED) -> Image.Image:
    """Generate an image from a prompt with the bundled model."""
    return generate(Txt2Img(prompt=prompt, seed=seed, model="tiny")).image


def grid(rows: list[list[Image.Image]]) -> Image.Image:
    """Place rows of images on a white background."""
    columns = max(len(row) for row in rows)
    step = CELL_PX + GAP_PX
    page = Image.new("RGB", (columns * step - GAP_PX, len(rows) * step - GAP_PX), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            page.paste(image.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS), (x * step, y * step))
    return page


def right_half_mask(size: tuple[int, int]) -> Image.Image:
    """Return a mask that is white in the right half."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((size[0] // 2, 0, *size), fill=255)
    return mask


def write_inputs() -> None:
    """Write the input images of README and docs."""
    for folder in ("photos", "normal", "new"):
        (INPUTS / folder).mkdir(parents=True, exist_ok=True)
    fox = txt2img("a red fox in the snow")
    fox.save(INPUTS / "fox.png")
    right_half_mask(fox.size).save(INPUTS / "mask.png")
    noise = np.random.default_rng(SEED).normal(0, NOISE_SIGMA, (*fox.size[::-1], 3))
    Image.fromarray((np.asarray(fox) + noise).round().clip(0, 255).astype(np.uint8)).save(INPUTS / "noisy.png")
    for name, prompt in (("apple", "a red apple"), ("car", "a yellow car"), ("cat", "a cat"), ("tulip", "a tulip")):
        txt2img(prompt).save(INPUTS / "photos" / f"{name}.png")
    run(
        "txt2img",
        "a red apple",
        "-m",
        "tiny",
        "--count",
        "20",
        "--seed",
        "100",
        "-o",
        f"{INPUTS}/normal/{{seed}}.png",
        "--overwrite",
    )
    apple = txt2img("a red apple")
    apple.save(INPUTS / "new" / "apple.png")
    with tempfile.TemporaryDirectory() as folder:
        mask = Image.new("L", apple.size)
        ImageDraw.Draw(mask).ellipse((38, 66, 66, 94), fill=255)
        mask.save(Path(folder, "mask.png"))
        request = Inpaint(
            image=INPUTS / "new" / "apple.png",
            mask=Path(folder, "mask.png"),
            prompt="a green leaf",
            seed=SEED,
            model="tiny",
        )
        generate(request).image.save(INPUTS / "new" / "damaged.png")


def img2img_grid(folder: Path) -> Image.Image:
    """Return a grid with one column per image: input, strength 0.3, strength 0.9."""
    columns = []
    for number, (before, after) in enumerate(IMG2IMG_PROMPTS):
        source = folder / f"img2img-{number}.png"
        image = txt2img(before)
        image.save(source)
        request = Img2Img(image=source, prompt=after, seed=SEED + 1, model="tiny")
        columns.append([image, *(generate(request.replace(strength=strength)).image for strength in (0.3, 0.9))])
    return grid([list(row) for row in zip(*columns, strict=True)])


def inpaint_grid(folder: Path) -> Image.Image:
    """Return a grid with one column per image: input, mask, result."""
    columns = []
    for number, (before, after) in enumerate(INPAINT_PROMPTS):
        source, mask_file = folder / f"inpaint-{number}.png", folder / f"mask-{number}.png"
        image = txt2img(before)
        image.save(source)
        mask = right_half_mask(image.size)
        mask.save(mask_file)
        request = Inpaint(image=source, mask=mask_file, prompt=after, seed=SEED + 1, model="tiny")
        columns.append([image, mask.convert("RGB"), generate(request).image])
    return grid([list(row) for row in zip(*columns, strict=True)])


def write_process_images(folder: Path) -> None:
    """Write frames.gif (the sampling process) and noise.png (the forward process)."""
    fox = ["txt2img", "a red fox in the snow", "--seed", str(SEED), "--steps", "30", "-m", "tiny"]
    frames = ["--frames", f"{DOCS_IMAGES}/frames.gif", "--frame-interval", "2"]
    run(*fox, "-o", f"{folder}/fox.png", *frames, "--overwrite")
    run("noise", f"{folder}/fox.png", "--steps", "8", "-o", f"{folder}/noise.png")
    with Image.open(folder / "noise.png") as strip:
        strip.quantize(256).save(DOCS_IMAGES / "noise.png", optimize=True)


def write_sweep(folder: Path) -> None:
    """Write the contact sheet of a sweep."""
    sweep = ["--sweep", "steps=2,6", "--sweep", "guidance=1:5:2", "-o", f"{folder}/sweep/"]
    run("txt2img", "a red fox in the snow", "--seed", "7", "-m", "tiny", *sweep)
    with Image.open(folder / "sweep" / "sheet.png") as sheet:
        sheet.save(DOCS_IMAGES / "sweep.png", optimize=True)


def anomaly_maps(folder: Path) -> Image.Image:
    """Return the heat maps of a normal and a damaged apple, one above the other."""
    run("anomaly", f"{INPUTS}/new", "--fit", f"{INPUTS}/normal", "--map", f"{folder}/maps")
    maps = [Image.open(folder / "maps" / name).convert("RGB") for name in ("apple.png", "damaged.png")]
    page = Image.new("RGB", (max(each.width for each in maps), sum(each.height for each in maps)), "white")
    for number, each in enumerate(maps):
        page.paste(each, (0, number * maps[0].height))
    return page


def main() -> None:
    """Write all images."""
    DOCS_IMAGES.mkdir(parents=True, exist_ok=True)
    write_inputs()
    fox = txt2img("a red fox in the snow")
    fox.resize((256, 256), Image.Resampling.LANCZOS).save(DOCS_IMAGES / "fox.png", optimize=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        img2img_grid(folder).save(DOCS_IMAGES / "img2img.png", optimize=True)
        inpaint_grid(folder).save(DOCS_IMAGES / "inpaint.png", optimize=True)
        write_sweep(folder)
        write_process_images(folder)
        anomaly_maps(folder).save(DOCS_IMAGES / "anomaly.png", optimize=True)


if __name__ == "__main__":
    main()
