"""Test the keywords of the Python API: names, types, errors, and the generated module."""

import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

import artgen
from artgen.api import keyword_types
from artgen.api.arguments import python_value, read_keywords
from artgen.api.function_keywords import FUNCTIONS, keyword_class, keyword_defaults
from artgen.cli.main import COMMAND_SUMMARIES
from artgen.errors import OutputError, UsageError
from artgen.spec import settings
from artgen.spec.python_text import for_python, python_text
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, settings_of

ROOT = Path(__file__).parents[2]
NOT_KEYWORDS = {"output", "format", "quality", "png_level", "overwrite", "metadata", "history"}
"""Settings of files, which `GeneratedImage.save` takes."""
IMAGE_FUNCTIONS = tuple(TASKS)


def without_commands(text: str) -> str:
    return re.sub(r"`artgen [^`]*`", "", text)


def test_generated_module_is_current() -> None:
    """Compare with the generated module. To update it, run `python docs/generate_keywords.py`."""
    result = subprocess.run(
        [sys.executable, "-c", "import generate_keywords as g, sys; sys.stdout.write(g.render())"],
        cwd=ROOT / "docs", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == (ROOT / "artgen" / "api" / "keyword_types.py").read_text("utf-8")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_and_docstring_list_all_keywords(name: str) -> None:
    function = getattr(artgen, name)
    parameters = inspect.signature(function).parameters
    for keyword, default in keyword_defaults(FUNCTIONS[name]).items():
        assert parameters[keyword].default == default
        assert parameters[keyword].annotation is not inspect.Parameter.empty
        assert f"    {keyword}: " in function.__doc__
    hints = typing.get_type_hints(getattr(keyword_types, keyword_class(name)), localns={"ImageInput": object})
    assert hints.keys() <= parameters.keys()


@pytest.mark.parametrize("task", IMAGE_FUNCTIONS)
def test_function_has_the_settings_of_its_request(task: str) -> None:
    taken = {*inspect.signature(getattr(artgen, task)).parameters}
    missing = options_of(TASKS[task].request_class).keys() - taken - NOT_KEYWORDS
    assert not missing


def test_each_task_is_a_function_and_a_command() -> None:
    assert set(IMAGE_FUNCTIONS) <= set(COMMAND_SUMMARIES)
    assert set(IMAGE_FUNCTIONS) <= set(artgen.__all__)


@pytest.mark.parametrize("group", settings.SETTING_GROUPS, ids=lambda group: group.__name__)
def test_aliases_of_options_are_keywords(group: type) -> None:
    for name, spec in FUNCTIONS.items():
        if group not in spec.groups:
            continue
        for alias, target in settings.aliases_of(options_of(group)).items():
            if alias in spec.extra or target.setting not in keyword_defaults(spec):
                continue
            kind, _ = settings.type_of(group, target.setting)
            value: Any = True if kind is bool or target.value is not None else "1"
            assert read_keywords(name, {alias: value}).keys() == {target.setting}


@pytest.mark.parametrize(
    ("name", "keyword", "hint"),
    [
        ("txt2img", "cfg", "guidance_scale"),
        ("txt2img", "num_images_per_prompt", "count"),
        ("txt2img", "generator", "seed"),
        ("img2img", "strengh", "strength"),
        ("denoise", "sigmas", "sigma"),
        ("txt2img", "hires_fix", "hires"),
        ("txt2img", "output", 'result.save("image.png")'),
        ("txt2img", "quality", "result.save("),
        ("txt2img", "combinatorial", "artgen.batch takes combinatorial."),
        ("img2img", "sweep", "artgen.batch takes sweep."),
        ("txt2img", "json", "Only the command line"),
    ],
)  # fmt: skip
def test_unknown_keyword_is_refused_with_a_hint(name: str, keyword: str, hint: str) -> None:
    with pytest.raises(artgen.UsageError, match=rf"^{name} has no keyword '{keyword}'\.") as caught:
        getattr(artgen, name)("fox.png", **{keyword: 1})
    assert hint in caught.value.hint
    assert "--" not in without_commands(caught.value.hint)


@pytest.mark.parametrize("first", ["guidance_scale", "cfg_scale"])
def test_keyword_and_its_alias_are_refused_together(first: str) -> None:
    values = dict.fromkeys((first, "guidance_scale", "cfg_scale"), 5)
    with pytest.raises(UsageError, match="Cannot use cfg_scale with guidance_scale"):
        read_keywords("txt2img", values)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", np.int64(4), 4),
        ("guidance_scale", np.float32(0.5), 0.5),
        ("safety_checker", np.bool_(False), False),
        ("width", np.uint16(64), 64),
        ("lora", "a.safetensors", ("a.safetensors",)),
        ("lora", Path("a.safetensors"), ("a.safetensors",)),
        ("lora", [Path("a.safetensors"), "b:0.5"], ("a.safetensors", "b:0.5")),
        ("embedding", (), ()),
        ("model", Path("folder/model"), str(Path("folder/model"))),
        ("size", (768, 512), "768x512"),
        ("size", [768, 512], "768x512"),
        ("target_size", (64, 32), "64x32"),
        ("expand", 64, "64"),
        ("sigma", 15, "15"),
        ("sigma", 12.5, "12.5"),
        ("class_label", 7, "7"),
        ("batch_size", 4, "4"),
        ("sigma", 12.3456789, "12.3456789"),
        ("expand", {"left": 64, "top": 32}, "left=64,top=32"),
        ("frames_show", "estimate", "x0"),
        ("mask", "mask.png", Path("mask.png")),
    ],
)  # fmt: skip
def test_values_of_python_have_the_types_of_settings(name: str, value: Any, expected: Any) -> None:
    group = next(group for group in settings.SETTING_GROUPS if name in options_of(group))
    converted = python_value(group, name, value)
    assert (converted, type(converted)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "20"}, "steps must be a whole number, not '20'."),
        ({"steps": 2.5}, "steps must be a whole number, not 2.5."),
        ({"steps": True}, "steps must be a whole number, not True."),
        ({"steps": 0}, "steps must be 1 to 1,000, not 0."),
        ({"seed": 1.5}, "seed must be a whole number or a list of whole numbers, not 1.5."),
        ({"seed": True}, "seed must be a whole number or a list of whole numbers, not True."),
        ({"seed": []}, "seed must be a whole number or a list of whole numbers, not []."),
        ({"seed": [1, "2"]}, "seed must be a whole number or a list of whole numbers, not [1, '2']."),
        ({"seed": 2**64}, f"Seeds must be 0 to 2^64-1, not {2**64}."),
        ({"seed": [1, 2], "count": 2}, "Cannot use count with a list of seeds: the list sets the number of images."),
        ({"count": 0}, "count must be 1 to 100,000, not 0."),
        ({"safety_checker": 1}, "safety_checker must be true or false, not 1."),
        ({"scheduler": 5}, "scheduler must be text, not 5."),
        ({"size": (1, 2, 3)}, "size must be a pair of whole numbers, not (1, 2, 3)."),
        ({"size": 64}, "size must be a pair of whole numbers, not 64."),
        ({"seed": b"1"}, "seed must be a whole number or a list of whole numbers, not b'1'."),
        ({"batch_size": True}, "batch_size must be a number or text, not True."),
        ({"size": (768, 512), "width": 64}, "Cannot combine size with width or height."),
        ({"lora": 5}, "lora must be a list, not 5."),
        ({"progress": 1}, "progress must be True, False or None, not 1."),
        ({"listener": 1}, "listener must be a function, not int."),
        ({"frames": "steps.gif"}, "frames must be True or False, not 'steps.gif'."),
        ({"frame_interval": 2}, "frame_interval needs frames."),
        ({"device": "tpu"}, "device must be auto, cpu, mps, cuda or cuda:N, not 'tpu'."),
        ({"preset": "portrait"}, "Unknown preset: 'portrait'."),
        ({"style": "gold"}, None),
    ],
)  # fmt: skip
def test_invalid_value_is_refused_before_a_model_loads(values: dict[str, Any], message: str | None) -> None:
    with pytest.raises(artgen.ArtgenError) as caught:
        artgen.txt2img("a fox", **values)
    assert caught.value.exit_code in (2, 3)
    if message is not None:
        assert caught.value.message == message


@pytest.mark.parametrize("prompt", [None, 5, ["a fox", "a cat"], b"a fox"])
def test_prompt_of_another_type_is_refused(prompt: Any) -> None:
    with pytest.raises(UsageError, match=r"^prompt must be text, not "):
        artgen.txt2img(prompt)


def test_txt2img_needs_a_prompt() -> None:
    with pytest.raises(TypeError, match="prompt"):
        artgen.txt2img()  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Remove --quantize or --lora.", "Remove quantize or lora."),
        ("Use --method tv.", "Use method='tv'."),
        ("Add --steps 10, or remove --frames.", "Add steps=10, or remove frames."),
        ("Use a mask of the image's size, or add --resize-mask.", "... or add resize_mask=True."),
        ("White pixels are generated; try --invert-mask.", "White pixels are generated; try invert_mask=True."),
        ("Set the path: --set image=PATH", "Set the path: image=PATH"),
        ("Use --model ada/fox.", "Use model='ada/fox'."),
        ("Choose another --output, or add --overwrite.", "Choose another output, or add overwrite=True."),
        ("Use PNG, or WebP with --quality 100.", "Use PNG, or WebP with quality=100."),
        ("Add --offload model or sequential.", "Add offload='model' or sequential."),
        ("Use --no-keep-original.", "Use keep_original=False."),
        ("Then add `-m sd-turbo`.", "Then add `model='sd-turbo'`."),
        ('For no prompt, add --prompt "".', 'For no prompt, add prompt="".'),
        ("`artgen anomaly --fit FOLDER` fits.", "`artgen anomaly --fit FOLDER` fits."),
        ("artgen outpaint input.png --expand 64", 'artgen.outpaint("input.png", expand=64)'),
        ('artgen txt2img "a red fox" -m tiny', 'artgen.txt2img("a red fox", model="tiny")'),
        ("Use `artgen img2img IMAGE PROMPT --strength 0.5`.", "Use `artgen.img2img(IMAGE, PROMPT, strength=0.5)`."),
        ("artgen inpaint a.png --mask b.png --invert-mask", 'artgen.inpaint("a.png", mask="b.png", invert_mask=True)'),
        ("`artgen models list` lists the names.", "`artgen models list` lists the names."),
        ("pip install --upgrade artgen", "pip install --upgrade artgen"),
        ("--noise-levels 25,50", "noise_levels=[25, 50]"),
        ("Remove --device, or use --device cpu.", "Remove device, or use device='cpu'."),
        ("Use --size 64x64 or 48x64.", "Use size='64x64' or 48x64."),
        ("Use --batch-size auto or --batch-size 4.", "Use batch_size='auto' or batch_size=4."),
        ("Add --ignore-columns promt.", "Add ignore_columns='promt'."),
        ("--sweep steps=10,20,30", "sweep='steps=10,20,30'"),
        ("Use several: --fast cache,tiny-decoder.", "Use several: fast='cache,tiny-decoder'."),
        ("Use --quantize or --lora.", "Use quantize or lora."),
        ("Save one: artgen preset save portrait --steps 28", "Save one: artgen preset save portrait --steps 28"),
        ("Create one: artgen anomaly --fit a/ --save-fit b.c", "Create one: artgen anomaly --fit a/ --save-fit b.c"),
        ("Set it: artgen config set a B. Or use --steps 4.", "Set it: artgen config set a B. Or use steps=4."),
        ("a red fox --seed 7", "a red fox --seed 7"),
    ],
)  # fmt: skip
def test_options_in_messages_are_keywords(text: str, expected: str) -> None:
    assert python_text(text).endswith(expected.removeprefix("..."))


def test_text_of_an_error_contains_its_hint_once() -> None:
    with pytest.raises(OutputError) as caught, for_python():
        raise OutputError("'fox.png' exists already.", "Choose another --output, or add --overwrite.")
    error = caught.value
    assert str(error) == f"{error.message}\n{error.hint}"
    assert error.args == (error.message,)
    assert error.hint == "Choose another output, or add overwrite=True."
    assert str(OutputError("No space.")) == "No space."


def test_no_package_has_the_name_of_a_function() -> None:
    packages = {path.stem for path in Path(artgen.__path__[0]).iterdir() if not path.name.startswith("_")}
    assert not packages & set(artgen.__all__)
    functions = {name for name in artgen.__all__ if name.islower()}
    assert not {name.replace("-", "_") for name in COMMAND_SUMMARIES} & packages - functions


def test_dir_lists_the_public_names() -> None:
    assert set(artgen.__all__) <= set(dir(artgen))
    assert sorted(dir(artgen)) == dir(artgen)
    assert "TYPE_CHECKING" not in dir(artgen)
    with pytest.raises(AttributeError, match="module 'artgen' has no attribute 'txt2image'"):
        artgen.txt2image  # type: ignore[attr-defined]  # noqa: B018


def test_help_of_keywords_contains_no_option() -> None:
    for spec in FUNCTIONS.values():
        for group in spec.groups:
            for name in settings_of(group).keys() & keyword_defaults(spec).keys():
                help_text = settings_of(group)[name].help
                assert "--" not in without_commands(python_text(help_text).replace("--save-fit", "")), name


def test_none_is_a_keyword_that_is_not_given() -> None:
    for name, spec in FUNCTIONS.items():
        if not spec.has_recorded_defaults:
            assert read_keywords(name, dict.fromkeys(keyword_defaults(spec))) == {}
    assert read_keywords("replay", {"negative_prompt": None, "image": None}) == {"negative_prompt": ""}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("img2img", "missing.png", "a fox"), 3),
        (("txt2img", "a fox", "--scheduler", "eulr"), 2),
        (("txt2img", "a fox", "--steps", "0"), 2),
        (("replay", "missing.png"), 3),
        (("txt2img", "a fox", "--preset", "portrait"), 2),
        (("batch", "missing.txt"), 3),
    ],
)  # fmt: skip
def test_command_line_prints_message_and_hint_once(arguments: tuple[str, ...], code: int) -> None:
    lines = [line.strip() for line in run(*arguments, code=code).stderr.splitlines()]
    assert len(lines) == len(set(lines))
    assert sum(line.startswith("error: ") for line in lines) == 1
