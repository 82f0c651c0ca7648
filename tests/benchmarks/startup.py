"""Rows: explaining itself, refusing, reading a picture."""

import sys
from pathlib import Path

from measuring import Row, Way
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from workshop import Workshop, command

from artgen.cli.main import COMMAND_SUMMARIES

REFERENCE = "import typer, typer.rich_utils"
"""What an empty Typer program pays for one page of help."""

OTHER = "diffusers-cli --help"


def rows(workshop: Workshop) -> list[Row]:
    picture = workshop.scratch / "described.png"
    chunks = PngInfo()
    chunks.add_itxt("parameters", "a red fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64")
    Image.new("RGB", (64, 64)).save(picture, pnginfo=chunks)
    other = Path(sys.executable).with_name("diffusers-cli")
    diffusers = (str(other), "--help") if other.exists() else (sys.executable, "-c", DIFFUSERS_CLI, "--help")
    ways = (
        Way(OTHER, diffusers),
        Way("python, nothing", (sys.executable, "-c", "pass")),
        Way(REFERENCE, (sys.executable, "-c", REFERENCE)),
        command("artgen --help", "--help"),
        *(command(f"artgen {name} --help", name, "--help") for name in COMMAND_SUMMARIES),
        command("artgen --version", "--version"),
        command("artgen txt2img x --steps 0", "txt2img", "x", "--steps", 0, exit=2),
        command("artgen img2img missing.png", "img2img", "missing.png", exit=3),
        command("artgen info picture.png", "info", picture),
    )
    return [Row("startup", "Help, a refused input, `info`", ways, ("cpu", "wall"), rounds=9)]


DIFFUSERS_CLI = "import sys; from diffusers.commands.diffusers_cli import main; sys.exit(main())"
