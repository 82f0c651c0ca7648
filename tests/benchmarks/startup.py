"""Define the rows for the start-up time: help, errors and `info`; and the first output of a generated image.

The variable ARTGEN_BASELINE names another checkout to compare with, such as an old one.
"""

import os
import sys
from pathlib import Path

from harness import OUT, Row, Variant
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from workspace import Workspace, artgen_command

import artgen
from artgen.cli.main import COMMAND_SUMMARIES

TYPER_IMPORT = "import typer, typer.rich_utils"
"""Imports of a minimal Typer program that prints a page of help."""

DIFFUSERS_HELP = "diffusers-cli --help"
DIFFUSERS_CLI = "import sys; from diffusers.commands.diffusers_cli import main; sys.exit(main())"

COMPARED_LINES = {
    "--help": 0,
    "txt2img --help": 0,
    "train --help": 0,
    "models --help": 0,
    "models serch": 2,
    "txt2img x --nonsense": 2,
    "txt2img x --steps 0": 2,
    "txt2img x --scheduler eulr": 2,
    "txt2img x -m model.ckpt": 5,
    "img2img missing.png": 3,
}
"""Exit codes of command lines that print help or a refusal."""


def rows(workspace: Workspace) -> list[Row]:
    image = workspace.scratch / "with-metadata.png"
    chunks = PngInfo()
    chunks.add_itxt("parameters", "a red fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64")
    Image.new("RGB", (64, 64)).save(image, pnginfo=chunks)
    program = Path(sys.executable).with_name("diffusers-cli")
    diffusers = (str(program), "--help") if program.exists() else (sys.executable, "-c", DIFFUSERS_CLI, "--help")
    variants = (
        Variant(DIFFUSERS_HELP, diffusers),
        Variant("empty Python program", (sys.executable, "-c", "pass")),
        Variant(TYPER_IMPORT, (sys.executable, "-c", TYPER_IMPORT)),
        artgen_command("artgen --help", "--help"),
        *(artgen_command(f"artgen {name} --help", name, "--help") for name in COMMAND_SUMMARIES),
        artgen_command("artgen --version", "--version"),
        artgen_command("artgen txt2img x --steps 0", "txt2img", "x", "--steps", 0, exit_code=2),
        artgen_command("artgen img2img missing.png", "img2img", "missing.png", exit_code=3),
        artgen_command("artgen info image.png", "info", image),
    )
    return [
        Row("startup", "Help, an invalid command, `info`", variants, ("cpu", "wall"), rounds=9),
        _compared_row(),
        _first_output_row(),
    ]


def _checkouts() -> dict[str, str]:
    """Return the folders of the baseline, if there is one, and of this checkout, by the name of the variant."""
    folders = {"artgen": str(Path(artgen.__file__).parents[1])}
    baseline = os.environ.get("ARTGEN_BASELINE")
    return {"ARTGEN_BASELINE": baseline, **folders} if baseline else folders


def _compared_row() -> Row:
    """Return the row of help pages and refusals, each with the baseline and with this checkout."""
    variants = tuple(
        Variant(f"{name} {line}", ("env", f"PYTHONPATH={folder}", sys.executable, "-m", "artgen", *line.split()), code)
        for line, code in COMPARED_LINES.items()
        for name, folder in _checkouts().items()
    )
    return Row("startup-compared", "Help and refusals", variants, ("cpu",), rounds=20)


def _first_output_row() -> Row:
    """Return the row of the first output."""
    program = str(Path(__file__).with_name("programs") / "first_output.py")
    arguments = ("txt2img", "a red fox", "-m", "tiny", "--steps", "20", "--seed", "7", "--output", f"{OUT}/")
    return Row(
        "first-output",
        "Seconds to the first output on a terminal: `txt2img`, bundled model, 20 steps",
        tuple(Variant(name, (sys.executable, program, path, *arguments)) for name, path in _checkouts().items()),
        ("first output", "longest pause", "silent", "wall", "cpu"),
        rounds=3,
    )
