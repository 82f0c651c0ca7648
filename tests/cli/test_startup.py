"""Test that help, version, lists and validation errors do not import torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from isolated_command import modules_after
from PIL import Image
from typer.testing import CliRunner

from artgen.cli.main import COMMAND_SUMMARIES, COMMANDS_WITHOUT_DEFAULTS, app
from artgen.spec import config, settings

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
        (("control", "depth", "nope.png"), 3, "nope.png"),
        (("control", "depth", "in.png", "--offline"), 4, "is not on this computer"),
        (("control", "pose", "in.png", "--preprocessor", "empty"), 2, "needs 2 models"),
        (("control", "seg", "in.png", "--dry-run"), 0, "is not downloaded (241.0 MB)"),
        (("mask", "in.png"), 2, "an image and a text"),
        (("mask", "in.png", "dog", "--mask-model", "nope"), 2, "Unknown mask model"),
        (("mask", "nope.png", "dog"), 3, "nope.png"),
        (("mask", "in.png", "dog", "--mask-model", "owlv2", "--dry-run"), 0, "1 image would be searched"),
        (("inpaint", "in.png", "x", "--mask-text", "dog", "--strength", "0", "--save-mask", "m.png"), 2, "artgen mask"),
        (("variations", "in.png", "--amount", "nan"), 2, "--amount: 'nan'"),
        (("morph", "in.png", "in.png", "--fps", "nan"), 2, "--fps: 'nan'"),
        (("rank", "in.png", "-p", "x", "--csv", "in.png", "--overwrite"), 2, "A table is a .csv file"),
        (("rank", "in.png", "-p", "x", "--csv", "-", "--json"), 2, "Cannot combine --json and --csv -"),
        (("txt2img", "x", "--hires", "8", "--size", "4096x4096"), 2, "to 32768x32768 with --hires"),
        (("upscale", "in.png", "--scale", "2"), 2, "Did you mean --by?"),
        (("upscale", "in.png", "--size", "64x64"), 2, "Did you mean --target-size?"),
        (("replay", "in.png", "--steps", "3"), 2, "Use --set steps=VALUE."),
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


HEAVY = ("numpy", "huggingface_hub", "rich", "yaml", "httpx", "jinja2")
NO_JOBS = (*HEAVY, "PIL", "artgen.jobs.job", "artgen.registry.catalog", "artgen.registry.hub", "urllib.request")
NO_REQUESTS = (*NO_JOBS, "artgen.spec.requests", "artgen.events", "tomllib", "secrets")
NO_SETTINGS = (*NO_REQUESTS, "artgen.spec.settings", "artgen.api", "platformdirs")
"""Modules that a command line does not import. Each list contains the list before it."""


@pytest.mark.parametrize(
    ("line", "absent_modules"),
    [
        ("--help", NO_SETTINGS),
        ("--version", NO_SETTINGS),
        ("models --help", NO_SETTINGS),
        *((f"models {name} --help", NO_SETTINGS) for name in ("list", "pull", "show", "words", "alias", "convert")),
        *(
            (f"{name} --help", NO_REQUESTS)
            for name in ("txt2img", "img2img", "inpaint", "outpaint", "denoise", "batch")
        ),
        *((f"{name} --help", NO_REQUESTS) for name in ("sample", "info", "schedulers", "styles", "doctor", "config")),
        *((f"{name} --help", NO_JOBS) for name in ("preset", "train", "replay", "sheet", "prompt", "noise")),
        ("txt2img --help-all", NO_REQUESTS),
        ("txt2img --json-schema", NO_JOBS),
        ("nope", NO_SETTINGS),
        ("models serch", NO_JOBS),
        ("config sett", NO_JOBS),
        ("config set nope 1", NO_JOBS),
        ("config set steps 0", NO_JOBS),
        ("preset show nope", NO_JOBS),
        ("preset save p --steps 0", NO_JOBS),
        ("txt2img", NO_JOBS),
        ("txt2img a b", NO_JOBS),
        ("txt2img x --nonsense", NO_JOBS),
        ("txt2img x --cfg 7", NO_JOBS),
        ("txt2img x --steps 0", NO_JOBS),
        ("txt2img x --steps many", NO_JOBS),
        ("txt2img x --preset nope", NO_JOBS),
        ("txt2img x --scheduler eulr", NO_JOBS),
        ("txt2img x --seed seven", NO_JOBS),
        ("txt2img x --lora x.safetensors:high", NO_JOBS),
        ("img2img nope.png", NO_JOBS),
        ("img2img nope.png --strength 1.5", NO_JOBS),
        ("txt2img x --size 65x65", HEAVY),
        ("txt2img x -m sd1k5", HEAVY),
        ("txt2img x --style nope", HEAVY),
        ("batch nope.txt", HEAVY),
        ("batch bad.txt", HEAVY),
        ("replay nope.png", HEAVY),
        ("models show nope", HEAVY),
        ("sheet nope.png", HEAVY),
    ],
)
def test_command_line_imports_only_what_it_needs(line: str, absent_modules: tuple[str, ...]) -> None:
    Path("bad.txt").write_text("a fox --steps 5\na cat --steps 0\n")
    code, loaded, stderr = modules_after(*line.split(), watched=absent_modules)
    is_text = any(option in line for option in ("--help", "--version", "--json-schema"))
    assert (code == 0) == is_text, stderr
    assert loaded == []


def test_commands_without_defaults_take_no_defaults() -> None:
    with_defaults = {name for name in COMMAND_SUMMARIES if name in (*settings.TASK_NAMES, "batch", "prompt")}
    assert with_defaults.isdisjoint(COMMANDS_WITHOUT_DEFAULTS)
    Path("artgen.toml").write_text("show = true\n")
    assert not any(config.load_defaults(name) for name in COMMANDS_WITHOUT_DEFAULTS)
    assert COMMAND_SUMMARIES.keys() > COMMANDS_WITHOUT_DEFAULTS


def test_completion_suggests_commands_and_options() -> None:
    environment = {**os.environ, "_ARTGEN_COMPLETE": "complete_bash", "_ARTGEN_LINE": "artgen ou"}
    ran = subprocess.run(
        [sys.executable, "-m", "artgen"], capture_output=True, text=True, env=environment, check=False, timeout=600
    )
    assert "outpaint" in ran.stdout
    environment["_ARTGEN_LINE"] = "artgen txt2img --sch"
    ran = subprocess.run(
        [sys.executable, "-m", "artgen"], capture_output=True, text=True, env=environment, check=False, timeout=600
    )
    assert "--scheduler" in ran.stdout


@pytest.mark.parametrize("typed", ["artgen ", "artgen txt2img --s", "artgen models show "])
def test_completion_imports_no_heavy_modules(typed: str) -> None:
    assert modules_after(_ARTGEN_COMPLETE="complete_bash", _ARTGEN_LINE=typed)[:2] == (0, [])


def test_mistyped_command_suggests_the_closest_command() -> None:
    assert "txt2img" in CliRunner().invoke(app, ["txt2im"]).stderr


def test_version_option_prints_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout.startswith("artgen 0.")
