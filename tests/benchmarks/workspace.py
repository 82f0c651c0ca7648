"""Create the models, images, prompt files and commands of the benchmark rows."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import OUT, Variant
from PIL import Image, ImageDraw

PROGRAMS = Path(__file__).with_name("programs")
ARTGEN = (sys.executable, "-m", "artgen")
TINY = Path(__file__).parents[2] / "artgen" / "assets" / "tiny"
DENOISER = TINY.with_name("denoiser")

OBJECTS = ("fox", "cat", "dog", "apple", "car", "tree", "house", "star")
COLORS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "brown")
PROMPT = "a red fox in the snow"


@dataclass(frozen=True)
class Workspace:
    """Store the folders of a benchmark run.

    Attributes:
        scratch: folder for files that are created in each run.
        cache: folder for full-size models, which are reused; None if there is none.
        log: receives progress messages.
    """

    scratch: Path
    cache: Path | None
    log: Callable[[str], None]

    def path(self, name: str) -> Path:
        """Return the path of a model with random weights: `tiny`, `sd15`, `sd15.safetensors` or `sdxl`."""
        return (self.scratch if name == "tiny" or self.cache is None else self.cache) / name

    def build_model(self, name: str) -> None:
        """Build a model unless it exists."""
        path = self.path(name)
        if (path if path.suffix else path / "model_index.json").exists():
            return
        if name == "sd15.safetensors":
            self.build_model("sd15")
        self.log(f"building {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(PROGRAMS / "build_model.py"), name, str(path)], check=True)

    def prompts(self, count: int) -> Path:
        """Write a file of different prompts. The seed of each prompt is its number."""
        path = self.scratch / f"{count}.txt"
        lines = [f"a {COLORS[i % 8]} {OBJECTS[i // 8 % 8]} --seed {i}" for i in range(count)]
        path.write_text("\n".join(lines))
        return path

    def image(self, side: int) -> Path:
        """Write a synthetic PNG image of `side` x `side` pixels."""
        path = self.scratch / f"image-{side}.png"
        image = Image.new("RGB", (side, side), (230, 240, 250))
        canvas = ImageDraw.Draw(image)
        canvas.rectangle((0, side * 3 // 4, side, side), fill=(120, 180, 90))
        canvas.ellipse((side // 4, side // 3, side * 3 // 4, side * 5 // 6), fill=(200, 60, 40))
        image.save(path)
        return path

    def noisy_image(self, side: int) -> Path:
        """Write the same image with noise of about 25 gray levels."""
        path = self.scratch / f"noisy-{side}.png"
        noise = Image.merge("RGB", [Image.effect_noise((side, side), 50) for _ in range(3)])
        with Image.open(self.image(side)) as clean:
            Image.blend(clean, noise, 0.5).save(path)
        return path

    def mask(self, side: int) -> Path:
        """Write a mask with a white center."""
        path = self.scratch / f"mask-{side}.png"
        image = Image.new("L", (side, side), 0)
        image.paste(255, (side // 4, side // 4, side * 3 // 4, side * 3 // 4))
        image.save(path)
        return path


def plain_diffusers(name: str, model: Path, *args: object, program: str = "diffusers_generate.py") -> Variant:
    """Return a plain diffusers script as a variant."""
    command = (sys.executable, "-W", "ignore", str(PROGRAMS / program), str(model), OUT, *map(str, args))
    return Variant(name, command)


def artgen_command(name: str, *args: object, exit_code: int = 0) -> Variant:
    """Return an artgen command as a variant."""
    return Variant(name, (*ARTGEN, *map(str, args)), exit=exit_code)


def artgen_library(name: str, model: Path, **settings: Any) -> Variant:
    """Return a program that calls `artgen.generate` as a variant."""
    program = str(PROGRAMS / "artgen_generate.py")
    return Variant(name, (sys.executable, program, str(model), OUT, json.dumps(settings)))


def running_process(model: Path, rounds: int, **settings: object) -> Variant:
    """Return a program that measures the pipeline call, a plain script and artgen in turns in one process."""
    program = (sys.executable, "-W", "ignore", str(PROGRAMS / "running_process.py"))
    return Variant("in turns", (*program, str(model), str(rounds), json.dumps(settings)))
