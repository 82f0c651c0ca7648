"""Test that no typed value is ignored without a message: empty texts, swept settings, and standard input."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run, save_inputs_of_all_commands
from PIL import Image

from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.queue.entries import LINE_SETTINGS
from artgen.spec.requests import Txt2Img
from artgen.spec.settings import options_of, settings_of, type_of

ARGUMENTS = {
    "txt2img": ("x",), "img2img": ("in.png", "x"), "inpaint": ("in.png", "x", "--mask", "mask.png"),
    "outpaint": ("in.png", "x"), "denoise": ("in.png",), "upscale": ("in.png",),
    "control": ("gray", "in.png"), "noise": ("in.png",), "anomaly": ("in.png",), "train": ("photos", "-o", "l.st"),
    "mask": ("in.png", "fox"), "rank": ("in.png", "--prompt", "x"), "variations": ("in.png",),
    "morph": ("in.png", "in.png"), "replay": ("record.json",),
}  # fmt: skip
MAY_BE_EMPTY = {
    "caption_template", "embedding", "lora", "morph_negative_prompt", "morph_prompt", "negative_prompt", "prompt",
    "snapshot_prompts", "source_prompt", "trigger",
}  # fmt: skip
"""Options for which an empty text is a value, or replaces a default of the user."""


def text_options() -> Iterator[tuple[str, str, str]]:
    """Yield the first command, the name and the flag of each option with a value, each name once."""
    seen: set[str] = set()
    for command in sorted(set(COMMAND_SUMMARIES) & set(ARGUMENTS)):
        loaded: Any = load_command(command)
        for each in loaded.params:
            if each.param_type_name == "option" and not each.is_flag and each.name not in seen:
                seen.add(each.name)
                yield command, each.name, each.opts[-1]


def test_an_empty_value_of_an_option_is_refused_or_is_a_value() -> None:
    save_inputs_of_all_commands()
    accepted = set()
    for command, name, flag in text_options():
        dry_run = () if "--dry-run" not in {opt for each in params(command) for opt in each.opts} else ("--dry-run",)
        result = run(command, *ARGUMENTS[command], f"{flag}=", *dry_run, code=None)
        assert result.exit_code in (0, 2, 3, 4), (command, flag, result.output)
        if result.exit_code == 0:
            accepted.add(name)
    assert accepted <= MAY_BE_EMPTY


def params(command: str) -> list[Any]:
    loaded: Any = load_command(command)
    parameters: list[Any] = loaded.params
    return parameters


SWEPT = [
    name for name in options_of(Txt2Img) if name in LINE_SETTINGS and settings_of(LINE_SETTINGS[name])[name].sweepable
]


def test_a_sweep_names_each_typed_setting_that_it_replaces() -> None:
    texts = {
        "prompt": "a",
        "size": "64x64",
        "seed": "5",
        "style": "oil",
        "preset": "small",
        "hires": "2",
        "control": "canny=in.png",
        "morph_seed": "7",
    }
    for name in SWEPT:
        setting = settings_of(LINE_SETTINGS[name])[name]
        kind = type_of(LINE_SETTINGS[name], name)[0]
        if kind is bool:
            continue
        number = "1" if kind in (int, float) else "x"
        value = texts.get(name) or (setting.choices[0] if setting.choices else number)
        flag = f"--{name.replace('_', '-')}"
        swept = ("--sweep", f"{name}={value}", f"{flag}={value}", "-m", "./missing", "--dry-run")
        prompt = () if name == "prompt" else ("x",)
        stderr = run("txt2img", *prompt, *swept, code=None).stderr
        assert f"--sweep {name} replaces the value of {flag}." in stderr, (name, stderr)
    result = run("txt2img", "x", "--sweep", "width=64,32", "--height", "64", "-m", "./missing", code=None)
    assert "replaces" not in result.stderr
    result = run("txt2img", "x", "--sweep", "size=64x64", "--height", "64", "-m", "./missing", code=None)
    assert "--sweep size replaces the value of --height." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("img2img", "-", "x", "--seed", "3"), "stdin-3.png"),
        (("inpaint", "-", "x", "--seed", "3", "--mask", "mask.png"), "stdin-3.png"),
        (("outpaint", "-", "x", "--seed", "3", "--expand", "8"), "stdin-3.png"),
        (("denoise", "-"), "stdin-denoised.png"),
        (("upscale", "-"), "stdin-upscaled.png"),
        (("noise", "-"), "stdin-noise.png"),
        (("control", "gray", "-"), "stdin-gray.png"),
        (("variations", "-"), "stdin-variation-00001.png"),
    ],
)
def test_default_names_of_results_of_stdin_begin_with_stdin(arguments: tuple[str, ...], name: str) -> None:
    save_inputs_of_all_commands()
    image = io.BytesIO()
    Image.open("in.png").save(image, "PNG")
    result = run(*arguments, "--dry-run", input=image.getvalue())
    assert f"output=outputs/{name}" in result.stdout
    assert not list(Path().glob("-*"))
    assert "Cannot read standard input: it is empty." in run(*arguments, input=b"", code=3).stderr


@pytest.mark.parametrize("option", [("--control", "canny=-"), ("--image-prompt", "-")])
def test_other_images_from_stdin(option: tuple[str, str]) -> None:
    assert "Cannot read an image from stdin for several results" in (
        run("txt2img", "x", *option, "--sweep", "steps=1,2", input=b"", code=2).stderr
    )
    result = run("txt2img", "x", *option, input=b"", code=3)
    assert "Cannot read standard input: it is empty." in result.stderr
    assert "COMMAND | artgen" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("upscale", "in.png", "--by", "0"), "by must be 1 to 16,384, not 0.0.", "--by 1"),
        (("upscale", "in.png", "--tile-size", "3"), "tile_size must be 16 to 4,096, not 3.", "--tile-size 16"),
        (("upscale", "in.png", "--sharpen", "9999"), "sharpen must be 0 to 1,000, not 9999.", "--sharpen 1000"),
        (("txt2img", "x", "--hires-steps", "0"), "hires_steps must be 1 to 1,000, not 0.", "--hires-steps 1"),
        (("txt2img", "x", "--best-of", "65"), "best_of must be 1 to 64, not 65.", "--best-of 64"),
        (("txt2img", "x", "--variation-strength", "30"), "variation_strength must be 0 to 1", "Did you mean 0.3?"),
        (("variations", "in.png", "--amount", "3"), "--amount must be 0 to 1, not 3.", "--amount 1"),
        (("variations", "in.png", "--count", "0"), "--count must be 1 to 100,000, not 0.", "--count 1"),
        (("morph", "in.png", "in.png", "--frames", "1"), "--frames must be 2 to 10,000, not 1.", "--frames 2"),
        (("morph", "in.png", "in.png", "--fps", "99"), "--fps must be 0.1 to 60, not 99.", "--fps 60"),
    ],
)
def test_numbers_beyond_the_limits_are_refused_with_a_command(
    arguments: tuple[str, ...], message: str, hint: str
) -> None:
    lines = run(*arguments, code=2).stderr.splitlines()
    assert lines[0].startswith(f"error: {message}")
    assert lines[1:] == [f"  {hint}"]
