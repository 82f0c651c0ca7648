"""Test that help, version, lists and validation errors do not import torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from isolated_command import modules_after
from PIL import Image
from typer.testing import CliRunner

from artgen.cli.main import COMMAND_SUMMARIES, app

SUBCOMMANDS = ("list", "show", "pull", "verify", "alias", "remove", "path")
HELPED = [
    (),
    *((name,) for name in COMMAND_SUMMARIES),
    *(("models", name) for name in SUBCOMMANDS),
    *(("batch", name) for name in ("run", "status", "verify")),
    *(("config", name) for name in ("show", "set", "path")),
]


@pytest.mark.parametrize("arguments", HELPED, ids=" ".join)
def test_help_imports_no_heavy_modules(arguments: tuple[str, ...]) -> None:
    assert modules_after(*arguments, "--help")[:2] == (0, [])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--version",), 0, ""),
        (("schedulers",), 0, ""),
        (("config", "show"), 0, ""),
        (("config", "path"), 0, ""),
        (("models", "list"), 0, ""),
        (("txt2img", "x", "--steps", "0"), 2, "1 to 1,000"),
        (("txt2img", "x", "--steps", "many"), 2, "many"),
        (("txt2img", "x", "--scheduler", "eulr"), 2, "euler"),
        (("txt2img", "x", "--guidance-scale", "nan"), 2, "finite"),
        (("txt2img", "x", "--guidance-scale", "inf"), 2, "finite"),
        (("txt2img", "x", "--size", "0x0"), 2, ""),
        (("txt2img", "x", "--width", "0"), 2, "width"),
        (("txt2img", "x", "--count", "0"), 2, "count"),
        (("txt2img", "x", "--seed", str(2**64)), 2, "2^64"),
        (("txt2img", "x", "--seed", "seven"), 2, "seven"),
        (("txt2img", "x", "--seed", "1,2", "--count", "2"), 2, "count"),
        (("txt2img", "x", "--device", "cuda"), 2, "CUDA"),
        (("txt2img", "x", "--device", "tpu"), 2, "tpu"),
        (("txt2img", "x", "--nonsense"), 2, "nonsense"),
        (("txt2img",), 2, "prompt"),
        (("txt2img", "a", "b"), 2, "b"),
        (("txt2img", "x", "-m", "nobody/nothing", "--offline"), 4, "nobody/nothing"),
        (("txt2img", "x", "-m", "sd1k5"), 4, "sd15"),
        (("txt2img", "x", "-m", "model.ckpt"), 5, "model.ckpt"),
        (("txt2img", "x", "--size", "65x65"), 2, "64x64"),
        (("img2img",), 2, "image"),
        (("img2img", "nope.png"), 3, "nope.png"),
        (("img2img", "text.png"), 3, "text.png"),
        (("img2img", "in.png", "--strength", "1.5"), 2, "0 to 1"),
        (("img2img", "in.png", "--strength", "0.01"), 2, "step"),
        (("inpaint", "in.png"), 2, "mask"),
        (("inpaint", "in.png", "--mask", "black.png"), 3, ""),
        (("outpaint", "in.png"), 2, "--expand"),
        (("outpaint", "in.png", "--expand", "sideways"), 2, "sideways"),
        (("info", "nope.png"), 3, "nope.png"),
        (("info", "in.png"), 3, "in.png"),
        (("replay", "in.png"), 3, "in.png"),
        (("replay", "in.png", "--set", "steps"), 2, "NAME=VALUE"),
        (("txt2img", "x", "-o", "in.png"), 74, "in.png"),
        (("txt2img", "x", "-o", "fox.gif"), 2, "gif"),
        (("config", "set", "nope", "1"), 2, "nope"),
        (("config", "set", "steps", "0"), 2, "steps"),
        (("anomaly",), 2, "image"),
        (("anomaly", "nope.png"), 3, "nope.png"),
        (("anomaly", "text.png"), 3, "text.png"),
        (("anomaly", "in.png", "--fit", "nowhere"), 3, "nowhere"),
        (("anomaly", "in.png", "--fit", "text.png"), 3, "not a fit file"),
        (("anomaly", "in.png", "--fit", "empty"), 3, "no image"),
        (("anomaly", "in.png", "--fit", "few"), 3, "19 images are needed"),
        (("anomaly", "in.png", "--fit", "few", "--alpha", "0.5"), 3, "8 images are needed"),
        (("anomaly", "in.png", "--alpha", "2"), 2, "alpha"),
        (("anomaly", "in.png", "--noise-levels", "strong"), 2, "strong"),
        (("anomaly", "in.png", "--method", "pixel", "-p", "x"), 2, "prompt"),
        (("anomaly", "in.png", "-m", "tiny"), 4, "--method latent"),
        (("anomaly", "in.png", "-m", "denoiser", "-p", "x"), 4, "method latent"),
        (("anomaly", "in.png", "-m", "nobody/nothing", "--offline"), 4, "nobody/nothing"),
        (("anomaly", "in.png", "--save-fit", "x.safetensors"), 2, "--fit"),
        (("anomaly", "in.png", "--map", "heat.gif"), 2, "gif"),
        (("anomaly", "in.png", "--map", "in.png"), 74, "in.png"),
        (("anomaly", "in.png", "--csv", "in.png"), 74, "in.png"),
        (("nope",), 2, "nope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_validation_imports_no_heavy_modules(arguments: tuple[str, ...], code: int, message: str) -> None:
    Image.new("RGB", (64, 64), "orange").save("in.png")
    Image.new("L", (64, 64), 0).save("black.png")
    Path("text.png").write_text("not an image")
    Path("empty").mkdir()
    Path("few").mkdir()
    Image.new("RGB", (64, 64), "orange").save("few/in.png")
    exit_code, loaded, stderr = modules_after(*arguments)
    assert (exit_code, loaded) == (code, []), stderr
    assert message in stderr
    assert "Traceback" not in stderr


def test_completion_suggests_commands_and_options() -> None:
    environment = {**os.environ, "_ARTGEN_COMPLETE": "complete_bash", "COMP_WORDS": "artgen ou", "COMP_CWORD": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "artgen"], capture_output=True, text=True, env=environment, check=False, timeout=600
    )
    assert "outpaint" in ran.stdout
    environment.update(COMP_WORDS="artgen txt2img --sch", COMP_CWORD="2")
    ran = subprocess.run(
        [sys.executable, "-m", "artgen"], capture_output=True, text=True, env=environment, check=False, timeout=600
    )
    assert "--scheduler" in ran.stdout


@pytest.mark.parametrize("typed", ["artgen ", "artgen txt2img --s", "artgen models show "])
def test_completion_imports_no_heavy_modules(typed: str) -> None:
    asked = {"_ARTGEN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    code, loaded, _ = modules_after(**asked)
    assert code == 0
    assert set(loaded) <= {"rich"}, "Typer imports rich to remove markup from help texts"


def test_mistyped_command_suggests_the_closest_command() -> None:
    assert "txt2img" in CliRunner().invoke(app, ["txt2im"]).stderr


def test_version_option_prints_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout.startswith("artgen 0.")
