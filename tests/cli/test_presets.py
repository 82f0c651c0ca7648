"""Test `--preset` and `artgen preset` through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import FAST, record, run, save_inputs

from artgen.spec import presets
from artgen.spec.preset_values import PRESET_SETTINGS
from artgen.spec.requests import TASKS
from artgen.spec.settings import UpscaleSettings, options_of, settings_of, type_of

TEXTS = {
    "negative_prompt": "bad, (worse:1.2)",
    "style": "oil",
    "guide": "apg",
    "sigmas": "karras",
    "scheduler": "DPM++ 2M Karras",
    "model": "tiny",
    "device": "cpu",
    "memory_budget": "8GiB",
    "batch_size": "2",
    "sigma": "15",
    "background": "red",
    "filter": "none",
    "output": "results/",
    "offload": "none",
    "dtype": "fp32",
    "hires": "2",
    "method": "tv",
    "png_level": "3",
    "strength": "0.5",
    "upscale_model": "tiny-x2",
}
"""Values of the settings that are texts, and of settings of which the computer does not support every value."""

UNSUPPORTED = {
    *("quantize", "text_encoder_3", "guidance_rescale", "acceleration", "eta", "self_ensemble", "fidelity", "fast"),
    *("embedding", "lora", "vae", "refiner", "only_masked", "source_prompt", "image_guidance_scale"),
    *("hires_in", "hires_model", "hires_steps", "panorama"),
    *("mask_text", "mask_model", "mask_threshold", "grow", "score", "score_model"),
}
"""Settings that need other files, or that the bundled model, the CPU or one step does not support."""


def _typed_option(name: str) -> list[str]:
    """Return an option with a value that is not the default."""
    group = PRESET_SETTINGS[name]
    kind, _ = type_of(group, name)
    setting, default = settings_of(group)[name], options_of(group)[name].default
    flag = (setting.flags[-1] if setting.flags else f"--{name.replace('_', '-')}").partition("/")[0]
    if kind is bool:
        return [f"--no-{flag[2:]}" if default else flag]
    if name in TEXTS:
        return [flag, TEXTS[name]]
    if setting.choices:
        return [flag, next(each for each in reversed(setting.choices) if each != default)]
    if name in ("width", "height"):
        return [flag, "64"]
    return [flag, str(kind(64 if setting.minimum is None else setting.minimum))]


def _command(name: str) -> list[str]:
    save_inputs()
    task = next(task for task, each in TASKS.items() if name in options_of(each.request_class) or task == "img2img")
    if name in options_of(TASKS["denoise"].request_class) and name not in options_of(TASKS["inpaint"].request_class):
        task = "denoise"
    if name in ("invert_mask", "resize_mask", "keep_original", "feather", "soft_mask", "only_masked", "fill"):
        task = "inpaint"
    if name in options_of(UpscaleSettings):
        task = "upscale"
    inputs = {
        "txt2img": ["x"],
        "img2img": ["in.png", "x"],
        "inpaint": ["in.png", "x", "--mask", "mask.png"],
        "denoise": ["in.png"],
        "upscale": ["in.png", "--method", "model" if name == "upscale_model" else "redraw"],
    }[task]
    if name in options_of(UpscaleSettings):
        return ["upscale", "in.png", "--method", "model" if name == "upscale_model" else "redraw", "--seed", "1"]
    return [task, *inputs, "--seed", "1"]


@pytest.mark.parametrize("name", sorted(PRESET_SETTINGS.keys() - UNSUPPORTED))
def test_preset_equals_its_typed_options(name: str) -> None:
    option = _typed_option(name)
    Path("styles.csv").write_text("name,prompt\noil,an oil painting\n")
    Path("artgen.toml").write_text('style_folder = "styles.csv"\n')
    run("sign", "init")
    run("preset", "save", "mine", *option)
    command = [*_command(name), *(["--scheduler", "euler"] if name == "sigmas" else [])]
    typed, with_preset = record(*command, *option), record(*command, "--preset", "mine")
    assert with_preset.pop("preset") == ["mine"]
    assert with_preset == typed


def test_typed_options_have_priority_over_presets_over_variables_over_files(monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "steps", "2")
    monkeypatch.setenv("ARTGEN_STEPS", "3")
    run("preset", "save", "four", "--steps", "4")
    run("preset", "save", "five", "--steps", "5")
    base = ("txt2img", "x", "--seed", "1")
    assert record(*base)["steps"] == 3
    assert record(*base, "--preset", "four")["steps"] == 4
    assert record(*base, "--preset", "four", "--preset", "five")["steps"] == 5
    assert record(*base, "--preset", "five", "--steps", "6", "--preset", "four")["steps"] == 6


@pytest.mark.parametrize("source", ["variable", "file", "command"])
def test_default_presets_apply_without_the_option(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "steps", "2")
    run("preset", "save", "four", "--steps", "4", "--strength", "0.5")
    run("preset", "save", "five", "--steps", "5")
    if source == "variable":
        monkeypatch.setenv("ARTGEN_PRESET", "four")
    elif source == "file":
        Path("artgen.toml").write_text('preset = "four"\n')
    else:
        run("config", "set", "preset", "four")
    base = ("txt2img", "x", "--seed", "1")
    found = record(*base)
    assert (found["steps"], found["preset"]) == (4, ["four"])
    assert record(*base, "--steps", "6")["steps"] == 6
    assert (found := record(*base, "--preset", "five"))["steps"] == 5
    assert found["preset"] == ["five"]
    assert "strength" not in run(*base, "--dry-run").stderr
    Path("prompts.txt").write_text("a fox\n")
    assert "preset=four" in run("batch", "prompts.txt", "--dry-run").stdout


def test_unknown_default_presets_are_ignored_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_PRESET", "nosuch")
    arguments = ("txt2img", "x", "--steps", "0")
    assert "The default of preset" in run(*arguments, code=2).stderr
    assert "default of preset" not in run(*arguments, "--quiet", code=2).stderr


def test_several_names_in_one_option_have_a_hint() -> None:
    run("preset", "save", "a", "--steps", "4")
    run("preset", "save", "b", "--steps", "5")
    assert "--preset a --preset b" in run("txt2img", "x", "--preset", "a,b", code=2).stderr


def test_a_typed_size_replaces_the_size_of_a_preset_and_of_a_configuration_file() -> None:
    run("preset", "save", "wide", "--size", "128x64")
    run("config", "set", "width", "64")
    found = record("txt2img", "x", "--preset", "wide")
    assert (found["width"], found["height"]) == (128, 64)
    for preset in ((), ("--preset", "wide")):
        found = record("txt2img", "x", "--size", "64x64", *preset)
        assert (found["width"], found["height"]) == (64, 64)


@pytest.mark.parametrize(
    ("options", "command", "name"),
    [
        (("--strength", "0.4"), ("txt2img", "x"), "strength"),
        (("--sigma", "15"), ("img2img", "in.png", "x"), "sigma"),
        (("--width", "64"), ("denoise", "in.png", "--method", "tv"), "width"),
        (("--sigmas", "karras"), ("txt2img", "x", "--scheduler", "ddim"), "sigmas"),
        (("--scheduler", "flow-euler"), ("txt2img", "x"), "scheduler"),
        (("--steps", "3"), ("denoise", "in.png", "--method", "tv"), "steps"),
        (("--strength", "0.4"), ("batch", "prompts.txt"), "strength"),
        (("--scheduler", "flow-euler"), ("batch", "prompts.txt"), "scheduler"),
    ],
)
def test_a_value_that_does_not_fit_the_command_is_ignored_with_a_note(
    options: tuple[str, ...], command: tuple[str, ...], name: str
) -> None:
    save_inputs()
    Path("prompts.txt").write_text("a fox\n")
    run("preset", "save", "mine", *options)
    result = run(*command, "--preset", "mine", "--dry-run", "--json")
    assert name in result.stderr
    assert name not in json.loads(result.stdout) or json.loads(result.stdout)[name] != options[1]
    assert name not in run(*command, "--preset", "mine", "--dry-run", "--json", "--quiet").stderr


def test_an_image_records_the_preset_and_replay_does_not_read_it() -> None:
    run("preset", "save", "mine", "--steps", "2", "--size", "64x64", "--scheduler", "Euler a")
    image = Path(run("txt2img", "x", "--preset", "mine", "--seed", "1", "-o", "a.png").stdout.strip())
    run("preset", "save", "mine", "--steps", "9", "--overwrite")
    found = record("replay", str(image))
    assert (found["preset"], found["steps"], found["scheduler"]) == (["mine"], 2, "euler-a")
    run("preset", "remove", "mine")
    assert record("replay", str(image)) == found
    Path("record.jsonl").write_text(run("info", str(image), "--json").stdout)
    batch = record("batch", "record.jsonl", "-o", "out/")
    assert (batch["preset"], batch["steps"]) == (["mine"], 2)
    assert "presets" in run("replay", str(image), "--set", "preset=other", code=2).stderr


def test_lines_of_prompt_files_use_presets() -> None:
    run("preset", "save", "a", "--steps", "3", "--strength", "0.3", "-n", "bad")
    run("preset", "save", "b", "--steps", "4")
    Path("p.txt").write_text("one --preset a\ntwo --preset a --preset b\nthree --preset a --steps 5\nfour\n")
    Path("p.yaml").write_text(
        "defaults: {preset: a, height: 64}\njobs:\n- prompt: five\n- {prompt: six, preset: [b]}\n"
    )
    Path("p.csv").write_text('prompt,preset\nseven,"a,b"\neight,\n')
    result = run("batch", "p.txt", "p.yaml", "p.csv", "--dry-run", "--json", "-o", "out/", "--steps", "2")
    jobs = {job["prompt"]: job for job in map(json.loads, result.stdout.splitlines())}
    assert {prompt: job["steps"] for prompt, job in jobs.items()} == {
        "one": 3, "two": 4, "three": 5, "four": 2, "five": 3, "six": 4, "seven": 4, "eight": 2,
    }  # fmt: skip
    assert jobs["two"]["preset"] == jobs["six"]["preset"] == jobs["seven"]["preset"] == ["a", "b"]
    assert jobs["six"]["negative_prompt"] == "bad"
    assert "preset" not in jobs["four"]
    assert "strength" in result.stderr
    Path("p.txt").write_text("one --preset a\ntwo --preset c\n")
    assert "p.txt:2: Unknown preset: 'c'" in run("batch", "p.txt", "--dry-run", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("save", "p", "--steps", "0"), 2, "steps must be"),
        (("save", "p", "--scheduler", "foo"), 2, "Unknown scheduler"),
        (("save", "p", "--seed", "3"), 2, "seed"),
        (("save", "p", "-p", "a fox"), 2, "prompt"),
        (("save", "p", "-i", "in.png"), 2, "image"),
        (("save", "p", "--score", "clip"), 2, "--best-of"),
        (("save", "p", "--steps", "3", "--by", "4"), 2, "cannot contain by"),
        (("save", "p"), 2, "without settings"),
        (("save", "../p", "--steps", "3"), 2, "name of a preset"),
        (("save", "p", "--quantize", "fp8", "--lora", "x"), 2, "Cannot use a LoRA"),
        (("save", "p", "--size", "64x64", "--width", "32"), 2, "--size"),
        (("save", "p", "--from", "missing.png"), 3, "does not exist"),
        (("save", "p", "--from", "in.png"), 3, "no generation metadata"),
        (("show", "p"), 2, "Unknown preset"),
        (("remove", "p"), 2, "Unknown preset"),
    ],
)
def test_invalid_commands_are_refused(arguments: tuple[str, ...], code: int, text: str) -> None:
    save_inputs()
    result = run("preset", *arguments, code=code)
    assert text in result.stderr
    assert not presets.presets_file().exists()


def test_list_and_show_print_the_settings(capfd: pytest.CaptureFixture[str]) -> None:
    assert "No presets" in run("preset", "list").stderr
    run("preset", "save", "mine", "--steps", "3", "--no-safety-checker", "--style", "oil", "--style", "film")
    expected: dict[str, Any] = {"style": ["oil", "film"], "steps": 3, "safety_checker": False}
    assert run("preset", "list").stdout == "mine  style=oil, film, steps=3, safety_checker=false\n"
    assert run("preset", "show", "mine").stdout.splitlines() == [
        "style = oil, film",
        "steps = 3",
        "safety_checker = false",
    ]
    for command in (("list",), ("show", "mine")):
        found = json.loads(run("preset", *command, "--json").stdout)
        assert found == {
            "schema": 1, "name": "mine", "settings": expected, "file": str(presets.presets_file()),
        }  # fmt: skip


def test_existing_paths_are_saved_as_absolute_paths() -> None:
    Path("models").mkdir()
    for name in ("l.safetensors", "models/m.safetensors"):
        Path(name).write_bytes(b"")
    run("preset", "save", "p", "--lora", "l.safetensors:0.8", "-m", "models/m.safetensors", "--vae", "sdxl-vae")
    found = presets.find_preset("p").values
    assert found["lora"] == (f"{Path('l.safetensors').absolute()}:0.8",)
    assert found["model"] == str(Path("models/m.safetensors").absolute())
    assert found["vae"] == "sdxl-vae"


def test_variables_and_configuration_files_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_STEPS", "3")
    run("config", "set", "guidance_scale", "4")
    run("preset", "save", "p", "--count", "2")
    assert presets.find_preset("p").values == {"count": 2}


def test_from_an_image_saves_its_settings_and_the_typed_options() -> None:
    run("txt2img", "x", "-m", "tiny", *FAST, "-g", "4", "--size", "64x64", "-o", "a.png")
    result = run("preset", "save", "p", "--from", "a.png", "--steps", "9")
    assert presets.find_preset("p").values == {
        "steps": 9, "guidance_scale": 4.0, "scheduler": "ddim", "width": 64, "height": 64, "model": "tiny",
    }  # fmt: skip
    assert "steps=9" in result.stderr


def test_damaged_presets_affect_only_commands_that_use_them() -> None:
    path = presets.presets_file()
    path.parent.mkdir(parents=True)
    path.write_text("[a\n")
    record("txt2img", "x", "--seed", "1")
    for command in (("txt2img", "x", "--preset", "a"), ("preset", "list"), ("preset", "save", "b", "--steps", "3")):
        result = run(*command, code=3)
        assert f"'{path}'" in result.stderr
        assert "line 1" in result.stderr


def test_a_method_of_denoise_is_ignored_by_upscale_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    save_inputs()
    run("preset", "save", "smooth", "--method", "tv")
    result = run("upscale", "in.png", "--preset", "smooth", "--dry-run")
    assert "The value of method of the preset is ignored: method must be one of lanczos" in result.stderr
    assert "method=lanczos" in result.stdout
    monkeypatch.setenv("ARTGEN_METHOD", "tv")
    assert "method=lanczos" in run("upscale", "in.png", "--dry-run").stdout  # ARTGEN_METHOD sets the method of denoise
    assert "not 'tv'" in run("upscale", "in.png", "--method", "tv", "--dry-run", code=2).stderr


def test_method_and_strength_of_upscale_have_their_own_defaults_and_presets() -> None:
    save_inputs()
    for name, value in (("strength", "0.7"), ("method", "tv"), ("upscale.method", "redraw"), ("upscale.steps", "3")):
        run("config", "set", name, value)
    run("config", "set", "upscale.method", "tv", code=2)
    run("preset", "save", "mine", "--method", "redraw", "--strength", "0.4")
    upscale = ("upscale", "in.png", "-m", "tiny", "--seed", "1")
    found = record(*upscale, "--steps", "9")
    assert (found["method"], found["strength"]) == ("redraw", 0.2)
    run("config", "set", "upscale.strength", "0.3")
    assert record(*upscale, "--steps", "9")["strength"] == 0.3
    assert record(*upscale, "--preset", "mine")["strength"] == 0.4
    assert record("img2img", "in.png", "x", "-m", "tiny")["strength"] == 0.7
    denoised = run("denoise", "in.png", "--preset", "mine", "--dry-run", "--json")
    assert json.loads(denoised.stdout)["method"] == "pixel"
    assert "The value of method of the preset is ignored" in denoised.stderr


def test_presets_contain_a_score_with_best_of() -> None:
    run("preset", "save", "mine", "--score", "model", "--best-of", "2")
    found = record("txt2img", "x", "-m", "tiny", "--preset", "mine")
    assert (found["best_of"], found["score"]) == (2, "model")
