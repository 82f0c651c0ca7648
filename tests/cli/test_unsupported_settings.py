"""Test settings that no job takes, and defaults of the user that do not fit the other settings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_loras
from command_line import run, save_inputs
from safetensors_files import zero_file

import artgen
from artgen.cli.batch import run as batch_command
from artgen.queue.entries import LINE_SETTINGS, accepted_settings
from artgen.spec.requests import TASKS
from artgen.spec.settings import (
    SETTING_GROUPS,
    FramesSettings,
    ReportSettings,
    RunSettings,
    Setting,
    options_of,
    settings_of,
    type_of,
)
from artgen.system import hardware

LINES: dict[str, dict[str, Any]] = {
    "txt2img": {"prompt": "a fox"},
    "img2img": {"prompt": "a fox", "image": "in.png"},
    "inpaint": {"image": "in.png", "mask": "mask.png"},
    "outpaint": {"image": "in.png", "expand": "8"},
    "edit": {"image": "in.png", "prompt": "a fox"},
    "denoise": {"image": "in.png"},
    "sample": {"model": "denoiser"},
    "upscale": {"image": "in.png", "method": "redraw", "model": "tiny"},
}
VALUES = {
    "prompt": "a car", "negative_prompt": "x", "seed": "3", "scheduler": "euler", "fast": "cache", "size": "64x64",
    "background": "red", "sigma": "10", "mask": "mask.png", "expand": "8", "target_size": "64x64", "model": "tiny",
    "lora": "x", "device": "cpu", "memory_budget": "8GiB", "output": "out/",
    "class_label": "3", "control": "raw=in.png,model=x", "image_prompt": "in.png", "source_prompt": "x",
    "vae": "x", "refiner": "x", "style": "x", "morph_prompt": "x", "morph_negative_prompt": "x", "morph_seed": "7",
    "hires": "2", "hires_model": "x", "score_model": "clip-large", "upscale_model": "tiny-x2",
    "embedding": "x", "mask_text": "a dog", "mask_model": "clipseg", "save_mask": "saved.png", "reference": "in.png",
}  # fmt: skip
NOT_IN_LINES = {*options_of(RunSettings), *options_of(FramesSettings), *options_of(ReportSettings), "task"} | {
    "batch_size", "overwrite", "image", "files", "ignore_columns", "server"
}  # fmt: skip
RESET_VALUES = {"invert": "false", "soft_mask": "false", "fill": "original"}
"""Values of the configuration that are the defaults of settings that cannot be empty."""

TESTED_ELSEWHERE = {"image_guidance_scale", "mask_text", "safety_checker", "score", "score_model"}
"""Settings that need an editing model (tests/engine/test_edit.py), that a typed option replaces, that a filter needs
(tests/unit/test_output_filters.py), or that cannot be configured (tests/engine/test_image_scores.py)."""

NO_JOB = "No job of the batch takes"


@pytest.fixture(autouse=True)
def _inputs(zoo: Mapping[str, Path]) -> None:
    save_inputs()
    for task, line in LINES.items():
        model = {"model": str(zoo["pix2pix"])} if task == "edit" else {}
        Path(f"{task}.jsonl").write_text(json.dumps({"task": task, **line, **model}))


def typed_option(name: str) -> tuple[str, ...]:
    """Return the option of a setting with a valid value that is not the default."""
    setting: Setting = options_of(LINE_SETTINGS[name])[name].metadata["setting"]
    flag = (setting.flags[-1] if setting.flags else f"--{name.replace('_', '-')}").partition("/")[0]
    if type_of(LINE_SETTINGS[name], name)[0] is bool:
        return (f"--no-{flag[2:]}",) if options_of(LINE_SETTINGS[name])[name].default is True else (flag,)
    if setting.minimum is not None:
        return flag, str(int(setting.minimum) + 1)
    return flag, VALUES.get(name) or setting.choices[-1]


BATCH_OPTIONS = tuple(
    name
    for name in batch_command.__annotations__
    if name in LINE_SETTINGS and name not in ("filter", "image", "preset")
)


def test_the_options_of_batch_are_known() -> None:
    assert {*batch_command.__annotations__} - {"_context"} <= {*BATCH_OPTIONS, "filter", "preset"} | NOT_IN_LINES


@pytest.mark.parametrize("name", BATCH_OPTIONS)
def test_option_that_no_line_takes_is_refused(name: str) -> None:
    option = typed_option(name)
    for task in TASKS:
        result = run("batch", f"{task}.jsonl", "-o", "out/", *option, "--dry-run", "-q", code=None)
        if name in accepted_settings(task):
            assert NO_JOB not in result.stderr
        else:
            assert result.exit_code == 2, (task, result.stderr)
            assert f"{NO_JOB} {option[0]}: the tasks are {task}." in result.stderr
            assert len(result.stderr.splitlines()) == 2, "an error and a hint"
    taking = [task for task in TASKS if name in accepted_settings(task)]
    other = "denoise" if taking[0] != "denoise" else "txt2img"
    result = run("batch", f"{taking[0]}.jsonl", f"{other}.jsonl", *option, "--dry-run", "-q", code=None)
    assert NO_JOB not in result.stderr


def test_default_that_no_line_takes_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.yaml").write_text("defaults: {strength: 0.5, steps: 2}\njobs: [a fox]\n")
    monkeypatch.setenv("ARTGEN_SIGMA", "10")
    result = run("batch", "p.yaml", "--dry-run")
    for name in ("strength", "sigma"):
        assert f"The default of {name} has no effect: no job takes it." in result.stderr
    assert result.stderr.count("no job takes it") == 2
    assert "steps=2" in result.stdout


DENOISE, TEXT, IMAGE = ("denoise", "in.png"), ("txt2img", "x", "-m", "tiny"), ("img2img", "in.png", "x", "-m", "tiny")
TV = (*DENOISE, "--method", "tv")
INVERT = ("img2img", "in.png", "x", "--invert", "-m", "tiny")
NETWORK = ("upscale", "in.png", "--method", "model")
REDRAW = ("upscale", "in.png", "--method", "redraw", "-m", "tiny")
SOFT_MASK = ("inpaint", "in.png", "x", "--mask", "mask.png", "-m", "tiny", "--soft-mask")
CASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("strength", "0.5", INVERT),
    ("scheduler", "euler", INVERT),
    ("sigmas", "karras", INVERT),
    ("invert", "true", ("img2img", "in.png", "x", "--strength", "0.5", "-m", "tiny")),
    ("source_prompt", "a fox", ("img2img", "in.png", "x", "-m", "tiny")),
    ("mask_model", "owlv2", ("inpaint", "in.png", "x", "--mask", "mask.png", "-m", "tiny")),
    ("upscale_model", "tiny-x2", REDRAW),
    ("tile_size", "64", NETWORK),
    ("tile_size", "65", REDRAW),
    ("tile_overlap", "8", NETWORK),
    ("tile_overlap", "1000", REDRAW),
    ("sharpen", "10", NETWORK),
    ("fill", "blur", SOFT_MASK),
    ("variation_strength", "0.2", INVERT),
    ("best_of", "2", INVERT),
    ("best_of", "2", (*IMAGE, "--strength", "0")),
    ("only_masked", "8", SOFT_MASK),
    ("only_masked", "8", SOFT_MASK[:-1]),
    ("soft_mask", "true", (*SOFT_MASK[:-1], "--fill", "noise")),
    ("model", "tiny", TV),
    ("model", "tiny", DENOISE),
    ("model", "denoiser", (*DENOISE, "--method", "latent")),
    ("steps", "3", TV),
    ("steps", "3", (*DENOISE, "--method", "nlm")),
    ("eta", "0.5", TV),
    ("eta", "0.5", (*DENOISE, "--method", "latent")),
    ("eta", "0.5", DENOISE),
    ("self_ensemble", "2", TV),
    ("self_ensemble", "10", DENOISE),
    ("fidelity", "0.5", TV),
    ("fidelity", "0.5", DENOISE),
    ("lora", "x.safetensors", TV),
    ("lora", "x.safetensors", DENOISE),
    ("method", "tv", (*DENOISE, "--steps", "2")),
    ("sigmas", "karras", (*TEXT, "--scheduler", "ddim")),
    ("scheduler", "ddim", (*TEXT, "--sigmas", "karras")),
    ("scheduler", "DPM++ 2M Karras", (*TEXT, "--sigmas", "exponential")),
    ("scheduler", "flow-euler", TEXT),
    ("guidance_rescale", "0.5", IMAGE),
    ("guide", "zero-star", TEXT),
    ("guide", "apg", (*TEXT, "--guidance-scale", "1")),
    ("guide", "apg", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("pag_scale", "3", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("pag_scale", "3", ("txt2img", "x AND y", "-m", "tiny")),
    ("guidance_rescale", "0.5", (*TEXT, "--guidance-scale", "1")),
    ("quantize", "fp8", (*TEXT, "--lora", "x.safetensors")),
    ("offload", "model", TEXT),
    ("memory_budget", "8GiB", TEXT),
    ("fast", "lcm", TEXT),
    ("fast", "cache", (*TEXT, "--steps", "2")),
    ("refiner", "x", TEXT),
    ("vae", "x", ("txt2img", "x", "-m", "zoo:sana")),
    ("negative_prompt", "bad", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("guidance_scale", "3", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("long_prompt", "chunk", ("txt2img", "x " * 600, "-m", "zoo:flux-schnell")),
    ("long_prompt", "chunk", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("clip_skip", "2", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("hires", "2:0.01", TEXT),
    ("hires", "2", ("txt2img", "x", "-m", "zoo:flux2-klein")),
    ("hires", "2", ("txt2img", "x", "-m", "zoo:sana")),
    ("hires_in", "latent", TEXT),
    ("hires_in", "latent", ("txt2img", "x", "-m", "zoo:flux-schnell", "--hires", "2")),
    ("hires_model", "x", TEXT),
    ("hires_steps", "3", TEXT),
    ("panorama", "true", TEXT),
    ("panorama", "true", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("seamless", "both", ("txt2img", "x", "-m", "zoo:sd3")),
    ("seamless", "x", (*IMAGE, "--invert")),
    ("vae_tiling", "true", (*TEXT, "--seamless", "x")),
    ("embedding", "e.safetensors", ("txt2img", "x", "-m", "zoo:flux-schnell")),
    ("strength", "0.5", ("img2img", "in.png", "x", "--size", "64x64", "-m", "zoo:flux2-klein")),
    ("class_label", "3", ("sample", "-m", "zoo:ddpm")),
    ("guidance_scale", "3", ("sample", "-m", "zoo:ddpm")),
    ("dtype", "bf16", ("sample", "-m", "zoo:score-sde-ve")),
    ("acceleration", "openvino", (*IMAGE, "--quantize", "fp8")),
    ("channels", "32", ("train", "folder", "-o", "new.safetensors", "--resolution", "32", "-m", "tiny")),
)
"""Setting, its value, and a command that does not support it. `zoo:NAME` is a model of the tests."""


@pytest.mark.parametrize("source", ["environment", "configuration", "batch"])
def test_default_that_does_not_fit_is_ignored_with_a_note(
    source: str, sd1: str, models: dict[str, Path], zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_loras.diffusers_lora(Path("x.safetensors"), Path(sd1), seed=1)
    zero_file(Path("e.safetensors"), {"emb_params": (1, 768)})
    Path("folder").mkdir()
    Path("in.png").rename("folder/in.png")
    Path("in.png").symlink_to("folder/in.png")
    for name, value, command in CASES:
        if source == "configuration" and name in ("class_label", "channels"):  # not keys of the configuration
            continue
        model = sd1 if "--lora" in command else str(models["sdxl"]) if "--sigmas" in command else "tiny"
        arguments = tuple(model if each == "tiny" else each for each in command)
        arguments = tuple(str(zoo[each[4:]]) if each.startswith("zoo:") else each for each in arguments)
        if source == "batch":
            if command[0] in ("txt2img", "sample", "train"):
                continue
            arguments = tuple("folder" if each == "in.png" else each for each in arguments)
        with monkeypatch.context() as patch:
            if name == "memory_budget":
                patch.setattr(hardware, "has_mps", lambda: True)
            flag = "--upscaler" if name == "upscale_model" else f"--{name.replace('_', '-')}"
            typed = (flag,) if value == "true" else (flag, value)
            refused = run(*arguments, *typed, "--dry-run", code=None)
            assert refused.exit_code in (2, 4), (name, command, refused.stderr)
            expected = run(*arguments, "--seed", "1", "--dry-run")
            if source == "configuration":
                run("config", "set", name, value)
            else:
                patch.setenv(f"ARTGEN_{name.upper()}", value)
            result = run(*arguments, "--seed", "1", "--dry-run")
            assert result.stdout == expected.stdout, (name, command)
            notes = [line for line in result.stderr.splitlines() if f"The default of {name}" in line]
            assert len(notes) == 1, (name, command, result.stderr)
            quiet = run(*arguments, "--seed", "1", "--dry-run", "-q")
            assert "The default of" not in quiet.stderr
            if source == "configuration":
                run("config", "set", name, {"long_prompt": "truncate", "dtype": "auto", **RESET_VALUES}.get(name, ""))


def test_all_checks_of_unsupported_settings_are_tested() -> None:
    sources = "".join(path.read_text("utf-8") for path in Path(artgen.__file__).parent.rglob("*.py"))
    checked = {
        name
        for names in re.findall(r"settings=\(([^()]*),\)|settings=\(([^()]*)\)", sources)
        for name in re.findall(r'"(\w+)"', "".join(names))
    }
    only_typed = {name for group in SETTING_GROUPS for name, each in settings_of(group).items() if each.per_call}
    assert checked - only_typed - TESTED_ELSEWHERE <= {name for name, _, _ in CASES}


def test_typed_setting_of_several_lines_is_still_refused() -> None:
    Path("p.txt").write_text("--task denoise --image in.png --method tv\n")
    assert "does not support steps" in run("batch", "p.txt", "--steps", "3", "--dry-run", code=2).stderr


def test_the_strength_of_img2img_in_the_environment_is_not_the_strength_of_upscale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redraw = ("--method", "redraw", "-m", "tiny", "--dry-run", "--json")
    lines = [{"task": "upscale", "image": "in.png", "method": "redraw"}, {"task": "img2img", "image": "in.png"}]
    Path("p.jsonl").write_text("\n".join(json.dumps({**line, "model": "tiny"}) for line in lines))
    Path("photos").mkdir()
    Path("in.png").rename("photos/in.png")
    Path("in.png").symlink_to("photos/in.png")

    def strengths(*arguments: str) -> list[float]:
        return [json.loads(line)["strength"] for line in run(*arguments).stdout.splitlines()]

    monkeypatch.setenv("ARTGEN_STRENGTH", "0.9")
    Path("artgen.toml").write_text("strength = 0.8\n")
    batch = ("batch", "p.jsonl", "--dry-run", "--json")
    assert strengths("upscale", "in.png", *redraw) == [0.2]
    assert strengths("upscale", "photos", *redraw) == [0.2]
    assert strengths("batch", "photos", "--task", "upscale", *redraw) == [0.2]
    assert strengths(*batch) == [0.2, 0.9]
    assert strengths(*batch, "--strength", "0.7") == [0.7, 0.7]
    Path("artgen.toml").write_text("[upscale]\nstrength = 0.3\n")
    assert strengths("upscale", "in.png", *redraw) == [0.3]
    assert strengths("upscale", "photos", *redraw) == [0.3]
