"""What rows are made from: models, pictures, prompts and the commands over them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import OUT, Way
from PIL import Image, ImageDraw

PROGRAMS = Path(__file__).with_name("programs")
ARTGEN = (sys.executable, "-m", "artgen")
TINY = Path(__file__).parents[2] / "artgen" / "assets" / "tiny"
DENOISER = TINY.with_name("denoiser")

THINGS = ("fox", "cat", "dog", "apple", "car", "tree", "house", "star")
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "brown")
PROMPT = "a red fox in the snow"


@dataclass(frozen=True)
class Workshop:
    """Where things lie.

    Attributes:
        scratch: for what is made anew each time.
        cache: where models of full size are kept once they are made; None: there are none.
        say: is told what takes long.
    """

    scratch: Path
    cache: Path | None
    say: Callable[[str], None]

    def path(self, name: str) -> Path:
        """Where a model with random weights lies or will: `tiny`, `sd15`, `sd15.safetensors`, `sdxl`."""
        return (self.scratch if name == "tiny" or self.cache is None else self.cache) / name

    def make(self, name: str) -> None:
        """Makes a model when it is not there."""
        path = self.path(name)
        if (path if path.suffix else path / "model_index.json").exists():
            return
        if name == "sd15.safetensors":
            self.make("sd15")
        self.say(f"making {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(PROGRAMS / "build.py"), name, str(path)], check=True)

    def prompts(self, count: int) -> Path:
        """A file of so many different prompts, each with its number as its seed."""
        path = self.scratch / f"{count}.txt"
        lines = [f"a {COLOURS[i % 8]} {THINGS[i // 8 % 8]} --seed {i}" for i in range(count)]
        path.write_text("\n".join(lines))
        return path

    def picture(self, side: int) -> Path:
        """A drawn picture, PNG."""
        path = self.scratch / f"picture-{side}.png"
        image = Image.new("RGB", (side, side), (230, 240, 250))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, side * 3 // 4, side, side), fill=(120, 180, 90))
        draw.ellipse((side // 4, side // 3, side * 3 // 4, side * 5 // 6), fill=(200, 60, 40))
        image.save(path)
        return path

    def noisy(self, side: int) -> Path:
        """The same with noise of about 25 grey levels."""
        path = self.scratch / f"noisy-{side}.png"
        grain = Image.merge("RGB", [Image.effect_noise((side, side), 50) for _ in range(3)])
        with Image.open(self.picture(side)) as clean:
            Image.blend(clean, grain, 0.5).save(path)
        return path

    def mask(self, side: int) -> Path:
        """A mask whose middle is white."""
        path = self.scratch / f"mask-{side}.png"
        image = Image.new("L", (side, side), 0)
        image.paste(255, (side // 4, side // 4, side * 3 // 4, side * 3 // 4))
        image.save(path)
        return path


def plain(name: str, model: Path, *words: object, program: str = "plain.py") -> Way:
    """A plain diffusers script."""
    return Way(name, (sys.executable, "-W", "ignore", str(PROGRAMS / program), str(model), OUT, *map(str, words)))


def command(name: str, *words: object, exit: int = 0) -> Way:  # noqa: A002 - a program's
    """artgen's command line; pictures go to the run's own folder."""
    return Way(name, (*ARTGEN, *map(str, words)), exit=exit)


def library(name: str, model: Path, program: str = "ours.py", **settings: Any) -> Way:
    """artgen's library."""
    return Way(name, (sys.executable, str(PROGRAMS / program), str(model), OUT, json.dumps(settings)))


def by_turns(model: Path, rounds: int, **settings: object) -> Way:
    """The pipeline's call, the plain script and artgen, all in one running process."""
    program = (sys.executable, "-W", "ignore", str(PROGRAMS / "warm.py"))
    return Way("by turns", (*program, str(model), str(rounds), json.dumps(settings)))
