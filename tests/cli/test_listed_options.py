"""Test that a command takes each option that its `--help-all` lists, for at least one value and model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import run, save_inputs_of_all_commands
from safetensors_files import zero_file

from artgen.api import engine_checks
from artgen.cli.main import load_command
from artgen.spec.settings import RunSettings, options_of

REQUIRED: dict[str, tuple[str, ...]] = {
    "txt2img": ("a fox",),
    "img2img": ("in.png", "a fox"),
    "inpaint": ("in.png", "a fox", "--mask", "mask.png"),
    "outpaint": ("in.png", "a fox", "--expand", "8"),
    "denoise": ("in.png",),
    "sample": ("-m", "denoiser"),
    "upscale": ("in.png", "--method", "redraw"),
}
"""Arguments that each command needs. An option replaces the argument with the same meaning."""

REPLACED = {"prompt": ("a fox",), "image": ("in.png",), "mask": ("--mask", "mask.png"),
            "target_size": ("--expand", "8"), "expand": ("--expand", "8"), "model": ("-m", "denoiser")}  # fmt: skip

VALUES = {
    "filter": "none",
    "prompt": "a car", "negative_prompt": "x", "seed": "3", "scheduler": "dpm++2m", "fast": "cache", "size": "64x64",
    "background": "red", "sigma": "10", "mask": "mask.png", "expand": "8", "target_size": "64x64", "model": "denoiser",
    "device": "cpu", "memory_budget": "8GiB", "output": "out/", "sweep": "steps=20,30", "shard": "0/2",
    "frames": "x.gif", "image": "in.png", "batch_size": "1", "style": "oil",
    "embedding": "embedding.safetensors", "ray": "auto", "lora": "lora.safetensors", "preset": "mine",
    "compare": "sheet.png", "control": "canny=in.png", "hires": "2", "score_model": "clip-large", "morph_seed": "7",
    "server": "none",
}  # fmt: skip

PROMPT_TASKS = ("txt2img", "img2img", "inpaint", "outpaint", "upscale")
CONTEXTS: dict[str, tuple[str, ...]] = {
    "embedding": ("-m", "models/sd1"),
    "lora": ("-m", "models/sd1"),
    "vae": ("-m", "models/sd1", "--vae", "models/sd1"),
    "refiner": ("-m", "models/sdxl", "--refiner", "models/sdxl"),
    "text_encoder_3": ("-m", "models/sd3"),
    "guidance_rescale": ("-m", "models/sdxl"),
    "combinatorial": ("-n", "{a|b}"),
    "control_guess": ("-m", "tiny", "--control", "canny=in.png"),
    "source_prompt": ("--invert",),
    "only_masked": ("-m", "models/sd1"),
    "frames_show": ("--frames", "x.gif"),
    "variation_seed": ("--variation-strength", "0.2"),
    **dict.fromkeys(("morph_prompt", "morph_negative_prompt", "morph_seed"), ("--morph-position", "0.5")),
    "fps": ("--frames", "x.gif"),
    "hires_in": ("--hires", "2"),
    "hires_steps": ("--hires", "2"),
    "panorama": ("-m", "tiny", "--width", "512"),
    "seamless": ("-m", "tiny"),
    "best_of": ("-m", "tiny"),
    "score": ("-m", "tiny", "--best-of", "2"),
    "score_model": ("-m", "tiny", "--best-of", "2", "--score", "clip"),
    "frame_interval": ("--frames", "x.gif"),
    "include_noising": ("--frames", "x.gif"),
    "upscale_model": ("--method", "model", "--upscaler", "tiny-x2"),
}
"""Other options that an option needs, in a command with a prompt."""

WITHOUT_PROMPT_CONTEXTS = {
    "lora": ("--method", "latent", "-m", "models/sd1"),
    "eta": ("--steps", "4"),
    "fidelity": ("--steps", "4"),
    **dict.fromkeys(("frames_show", "fps", "frame_interval", "frames"), ("--frames", "x.gif", "--steps", "4")),
}

TESTED_ELSEWHERE = {
    *(("sample", "guidance_scale"), ("sample", "class_label")),
    *((task, "image_prompt") for task in PROMPT_TASKS),
    ("txt2img", "hires_model"),
    *(("inpaint", name) for name in ("mask_text", "mask_model", "mask_threshold", "grow", "save_mask")),
}
"""Options that need other models: tests/engine/test_sample.py, test_image_prompts.py and test_text_masks.py."""


def listed_options() -> Iterator[tuple[str, str]]:
    """Yield each command with each of its settings that is a listed option."""
    for task in REQUIRED:
        command = load_command(task)
        for parameter in command.get_params(typer.Context(command)):
            if parameter.param_type_name == "option" and not parameter.hidden and not parameter.is_eager:
                yield task, parameter.name


def arguments_of(task: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Return the other arguments of a command, and spellings of an option with a value."""
    command = load_command(task)
    parameter: Any = next(each for each in command.get_params(typer.Context(command)) if each.name == name)
    setting = command.callback.settings.get(name)
    others = list(REQUIRED[task])
    for word in REPLACED.get(name, ()):
        if word in others:
            others.remove(word)
    contexts = CONTEXTS if task in PROMPT_TASKS else WITHOUT_PROMPT_CONTEXTS
    others += contexts.get(name, ())
    if name in options_of(RunSettings):  # settings of several images
        others = ["photos"] if task == "denoise" else [*others, "--sweep", "steps=20,30"]
    flag = parameter.opts[-1]
    if parameter.is_flag:
        return others, [[each] for each in (*parameter.opts, *parameter.secondary_opts)]
    if name in others or flag in others:
        return others, [[]]
    if setting and setting.choices:
        return others, [[flag, choice] for choice in setting.choices]
    if setting and setting.minimum is not None:
        return others, [[flag, f"{int(setting.minimum) + 1}"], [flag, f"{setting.maximum:g}"]]
    return others, [[flag, "tiny" if name == "model" and task in PROMPT_TASKS else VALUES.get(name, "in.png")]]


@pytest.fixture(autouse=True)
def _files(models: dict[str, Path]) -> None:
    save_inputs_of_all_commands()
    Path("models").symlink_to(models["sd1"].parent)
    zero_file(Path("embedding.safetensors"), {"emb_params": (1, 32)})
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    zero_file(Path("lora.safetensors"), {f"{layer}.lora_A.weight": (1, 16), f"{layer}.lora_B.weight": (16, 1)})
    run("preset", "save", "mine", "--steps", "30")


@pytest.mark.parametrize("task", REQUIRED)
def test_command_takes_each_listed_option(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_checks, "check_jobs", lambda *_args, **_kwargs: None)  # slow
    refused = {}
    for name in [name for command, name in listed_options() if command == task]:
        if (task, name) in TESTED_ELSEWHERE:
            continue
        others, spellings = arguments_of(task, name)
        outputs = []
        for spelling in spellings:
            result = run(task, *others, *spelling, "--dry-run", code=None)
            outputs.append(result.stderr or repr(result.exception))
            if result.exit_code == 0 and f"{spelling[0] if spelling else name} has no effect" not in result.stderr:
                break
        else:
            refused[name] = outputs
    assert not refused
