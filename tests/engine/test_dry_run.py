"""Test that a dry run refuses what a real run refuses, with the same message, and prints all settings."""

import random
import shutil
from pathlib import Path

import broken_models
import pytest
import sample_images
import tiny_loras
from command_line import run, save_inputs
from typer.testing import CliRunner, Result

from artgen.cli.main import app
from artgen.engine.loading import pipeline_cache
from artgen.registry import position_limit_px, resolve_model

ONE_SENTENCE_MAX = 600
SAMPLE = sorted(random.Random(7).sample(sorted(broken_models.BREAKAGES), 60))


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def _refusal(result: Result) -> tuple[int, str]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert len(lines[0]) < ONE_SENTENCE_MAX
    return result.exit_code, lines[0]


def _check_same_refusal(*arguments: str) -> tuple[int, str]:
    pipeline_cache.clear_cache()
    dry = _refusal(_invoke(*arguments, "--dry-run"))
    real = _refusal(_invoke(*arguments, "-o", "out/"))
    assert dry == real
    assert not list(Path().glob("out/*.png"))
    return real


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name in SAMPLE else pytest.mark.slow) for name in sorted(broken_models.BREAKAGES)
])  # fmt: skip
def test_a_dry_run_refuses_a_broken_model_as_a_real_run_does(models: dict[str, Path], name: str) -> None:
    folder = broken_models.write_broken(name, models["sd1"], Path("model"))
    code, _ = _check_same_refusal("txt2img", "x", "-m", str(folder), "--seed", "1", "--steps", "2")
    assert code in (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "expected_code"),
    [
        (("txt2img", "x " * 200, "--long-prompt", "error"), 2),
        (("txt2img", "x", "-n", "y " * 200, "--long-prompt", "error"), 2),
        (("txt2img", "x", "--steps", "1000"), 2),
        (("txt2img", "x", "--sigmas", "karras", "--scheduler", "ddim"), 2),
        (("txt2img", "x", "--scheduler", "flow-euler"), 2),
        (("txt2img", "x", "--guidance-rescale", "0.5", "-g", "1"), 2),
        (("txt2img", "x", "--size", "33x33"), 2),
        (("txt2img", "x", "--lora", "other.safetensors"), 4),
        (("txt2img", "x", "--lora", "missing.safetensors"), 3),
        (("txt2img", "x", "--fast", "lcm"), 4),
        (("img2img", "in.png", "x", "--strength", "0.1"), 2),
        (("img2img", "mask.txt", "x"), 3),
        (("inpaint", "in.png", "x", "--mask", "in.txt"), 3),
        (("outpaint", "in.png", "x", "--expand", "left=0"), 2),
        (("denoise", "in.png"), 4),
        (("img2img", "in.png", "x", "--sweep", "strength=0.1,0.2"), 2),
        (("batch", "p.txt", "--long-prompt", "error"), 2),
        (("batch", "p.txt", "--scheduler", "flow-euler"), 2),
    ],
)
def test_a_dry_run_refuses_invalid_settings_as_a_real_run_does(
    sd1: str, models: dict[str, Path], arguments: tuple[str, ...], expected_code: int
) -> None:
    save_inputs()
    Path("in.txt").write_text("x")
    Path("mask.txt").write_text("x")
    Path("p.txt").write_text("x " * 200 + "\n")
    tiny_loras.diffusers_lora(Path("other.safetensors"), models["sdxl"])
    steps = () if "--steps" in arguments else ("--steps", "2")
    base = (*arguments, "-m", sd1, "--offline", *steps)
    dry, real = _invoke(*base, "--dry-run"), _invoke(*base, "-o", "out/")
    assert (dry.exit_code, dry.stderr) == (real.exit_code, real.stderr)
    assert dry.exit_code == expected_code
    assert not list(Path().glob("out/*.png"))


@pytest.mark.parametrize("task", ["img2img", "inpaint", "outpaint"])
def test_a_txt2img_model_that_cannot_be_loaded_is_refused_in_every_task(models: dict[str, Path], task: str) -> None:
    save_inputs()
    folder = broken_models.write_broken("missing tensor", models["sd1"], Path("model"))
    options = {"img2img": (), "inpaint": ("--mask", "mask.png"), "outpaint": ("--expand", "left=8")}[task]
    code, message = _check_same_refusal(task, "in.png", "x", *options, "-m", str(folder), "--steps", "4")
    assert code == 4
    assert "lacks 1 of its tensors, first conv_out.bias" in message


def test_an_inpainting_model_is_refused_for_txt2img(models: dict[str, Path]) -> None:
    code, message = _check_same_refusal("txt2img", "x", "-m", str(models["sd1-inpaint"]))
    assert code == 4
    assert "inpainting" in message


def test_a_batch_with_a_broken_model_generates_nothing(models: dict[str, Path]) -> None:
    folder = broken_models.write_broken("tensor of another shape", models["sd1"], Path("model"))
    Path("p.txt").write_text("a fox\na cat\n")
    arguments = ("batch", "p.txt", "-m", str(folder), "-o", "out/")
    dry, real = _invoke(*arguments, "--dry-run"), _invoke(*arguments)
    assert (dry.exit_code, dry.stderr) == (real.exit_code, real.stderr)
    assert dry.exit_code == 4
    assert "p.txt:1: Cannot load the unet" in dry.stderr


def test_a_dry_run_prints_every_setting_that_differs_from_a_bare_request(sd1: str, models: dict[str, Path]) -> None:
    save_inputs()
    tiny_loras.diffusers_lora(Path("style.safetensors"), models["sd1"])
    options = {
        "negative_prompt": "blue", "strength": "0.75", "scheduler": "euler", "sigmas": "karras", "mask": "mask.png",
        "feather": "3", "invert_mask": "True", "guidance_scale": "3.5", "seed": "7", "steps": "4",
        "lora": "style.safetensors:0.5", "long_prompt": "chunk", "format": "webp", "quality": "80",
        "metadata": "minimal", "device": "cpu", "dtype": "fp32", "frames": "steps.gif", "output": "out/in-7.webp",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    flags.remove("True")
    flags[flags.index("out/in-7.webp")] = "out/"
    printed = run("inpaint", "in.png", "a  fox\nx", "-m", sd1, *flags, "--dry-run").stdout
    assert printed.count("\n") == 1
    assert all(f"  {name}={value}  " in f"  {printed.strip()}  " for name, value in options.items()), printed
    assert 'prompt="a  fox\\nx"' in printed


def test_a_dry_run_prints_the_name_of_each_image(sd1: str) -> None:
    lines = run("txt2img", "x", "-m", sd1, "--count", "3", "--seed", "4", "-o", "out/", "--dry-run").stdout.splitlines()
    assert [line.rpartition("output=")[2] for line in lines] == [f"out/{i:05}-{i + 3}-x.png" for i in (1, 2, 3)]
    assert not Path("out").exists()
    names = run("txt2img", "x", "-m", sd1, "--count", "3", "--seed", "4", "-o", "out/", "--steps", "1").stdout
    assert [line.rpartition("output=")[2] for line in lines] == names.splitlines()


def test_a_dry_run_prints_the_note_about_a_long_prompt(sd1: str) -> None:
    settings = ("-m", sd1, "--long-prompt", "truncate")
    note = "The prompt is too long for this model. Ignoring its end: 'x x"
    assert note in run("txt2img", "x " * 100, *settings, "--steps", "1", "--dry-run").stderr
    Path("p.txt").write_text("x " * 100 + "\n")
    assert run("batch", "p.txt", *settings, "--dry-run").stderr.count(note) == 1


def test_a_dry_run_prints_the_notes_and_errors_about_schedules_and_composition(sd1: str) -> None:
    settings = ("-m", sd1, "--steps", "2", "--seed", "1")
    note = "'[fox:cat:5]' does not change: its first text ends at step 2, and only 2 steps run."
    error = "Cannot combine prompts with AND without guidance: the guidance scale is 1."
    for dry_run in ((), ("--dry-run",)):
        assert run("txt2img", "a [fox:cat:5]", *settings, *dry_run).stderr.count(note) == 1
        assert error in run("txt2img", "a AND b", *settings, "-g", "1", *dry_run, code=2).stderr
        Path("p.txt").write_text("a [fox:cat:5]\n")
        assert run("batch", "p.txt", *settings[:4], *dry_run).stderr.count(note) == 1
        Path("p.txt").write_text("a AND b\n")
        assert error in run("batch", "p.txt", *settings[:4], "-g", "1", *dry_run, code=2).stderr


@pytest.mark.parametrize("breakage", ["missing tensor", "text tensor of another shape", f"{broken_models.VAE} removed"])
@pytest.mark.parametrize("command", ["train", "anomaly", "noise"])
def test_train_anomaly_and_noise_check_the_model_in_a_dry_run(
    models: dict[str, Path], command: str, breakage: str
) -> None:
    save_inputs()
    Path("images").mkdir()
    shutil.copy("in.png", "images/a.png")
    folder = str(broken_models.write_broken(breakage, models["sd1"], Path("model")))
    arguments = {
        "train": ("train", "images", "-m", folder, "--train-steps", "1"),
        "anomaly": ("anomaly", "in.png", "-m", folder),
        "noise": ("noise", "in.png", "-m", folder, "--space", "latent"),
    }[command]
    output = ("-o", "out/result.safetensors") if command == "train" else () if command == "anomaly" else ("-o", "out/")
    dry, real = _invoke(*arguments, *output, "--dry-run"), _invoke(*arguments, *output)
    assert _refusal(dry) == _refusal(real)
    assert dry.exit_code == 4
    assert not list(Path().glob("out/*.*"))


@pytest.mark.parametrize("task", ["txt2img", "img2img", "outpaint"])
def test_a_dry_run_refuses_a_size_without_position_embeddings(models: dict[str, Path], task: str) -> None:
    limit = position_limit_px(resolve_model(str(models["sd3"])))
    assert limit is not None
    sample_images.photo(Path("large.png"), limit + 64, 64)
    sample_images.photo(Path("fitting.png"), limit, 64)
    for name, width, code in (("fitting.png", limit, 0), ("large.png", limit + 64, 2)):
        arguments = {
            "txt2img": ("txt2img", "x", "--size", f"{width}x64"),
            "img2img": ("img2img", name, "x"),
            "outpaint": ("outpaint", "fitting.png", "x", "--expand", "top=64" if code == 0 else "left=64"),
        }[task]
        result = _invoke(*arguments, "-m", str(models["sd3"]), "--steps", "4", "--dry-run")
        assert result.exit_code == code, result.stderr
        if code:
            assert f"Cannot generate {width}x64 with" in _refusal(result)[1]
            assert f"both sides can have at most {limit} pixels" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("noise", "in.png", "--steps", "5", "--schedule", "cosine"), "steps=5  schedule=cosine  space=pixel"),
        (("noise", "in.png", "-o", "strip.png"), "output=strip.png"),
        (("anomaly", "in.png"), "in.png"),
    ],
)
def test_a_dry_run_of_noise_and_anomaly_prints_the_plan(arguments: tuple[str, ...], printed: str) -> None:
    save_inputs()
    result = run(*arguments, "--dry-run")
    assert printed in result.stdout
    assert "Dry run: 1 " in result.stderr
    assert not Path("strip.png").exists()


@pytest.mark.parametrize(
    "arguments", [("noise", "in.png"), ("anomaly", "in.png"), ("denoise", "in.png", "--method", "tv")], ids=" ".join
)
def test_a_quiet_dry_run_prints_no_notes(arguments: tuple[str, ...]) -> None:
    save_inputs()
    result = run(*arguments, "--dry-run", "-q")
    assert result.stdout
    assert not result.stderr
