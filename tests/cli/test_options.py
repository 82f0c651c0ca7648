"""Test the options of the command line and the sources of their values."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import tiny_loras
from command_line import record, run, save_inputs
from pseudo_terminal import artgen


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--num-inference-steps", "9"), "steps", 9),
        (("--cfg-scale=3.5",), "guidance_scale", 3.5),
        (("--guidance", "3"), "guidance_scale", 3.0),
        (("-g", "2"), "guidance_scale", 2.0),
        (("--sampler", "DPM++ 2M Karras"), "sigmas", "karras"),
        (("--scheduler", "dpmpp_2m"), "scheduler", "dpm++2m"),
        (("--negative", "blur"), "negative_prompt", "blur"),
        (("-n", "blur"), "negative_prompt", "blur"),
        (("--size", "64x32"), "height", 32),
        (("-W", "64"), "width", 64),
    ],
)
def test_option_aliases_of_other_tools(sd1: str, arguments: tuple[str, ...], name: str, value: object) -> None:
    assert record("txt2img", "x", "-m", sd1, *arguments)[name] == value


@pytest.mark.parametrize(
    "arguments",
    [
        ("in.png", "a fox"),
        ("-i", "in.png", "a fox"),
        ("--init-image", "in.png", "-p", "a fox"),
        ("in.png", "--prompt=a fox"),
    ],
)
def test_image_and_prompt_are_positional_or_options(sd1: str, arguments: tuple[str, ...]) -> None:
    image_record = record("img2img", *arguments, "-m", sd1)
    assert (image_record["image"], image_record["prompt"]) == ("in.png", "a fox")


def test_num_images_is_an_alias_of_count(sd1: str) -> None:
    lines = run("txt2img", "x", "-m", sd1, "-s", "5", "--num-images", "3", "--dry-run", "--json").stdout.splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [5, 6, 7]


def test_random_seeds_differ_and_are_recorded(sd1: str) -> None:
    first, second = (record("txt2img", "x", "-m", sd1, "--seed", "-1")["seed"] for _ in range(2))
    assert first != second
    assert 0 <= first < 2**32


def test_prompt_is_read_from_stdin(sd1: str) -> None:
    assert record("txt2img", "-", "-m", sd1, input="\ufeffa fox\r\n".encode())["prompt"] == "a fox"
    run("txt2img", "-", "-m", sd1, input=b"a f\xf6x", code=2)


def test_prompt_may_begin_with_a_dash(sd1: str) -> None:
    result = run("txt2img", "-m", sd1, "--dry-run", "--json", "--", "--steps")
    assert json.loads(result.stdout)["prompt"] == "--steps"


def test_size_and_width_cannot_be_combined(sd1: str) -> None:
    assert "--size" in run("txt2img", "x", "-m", sd1, "--size", "32x32", "-W", "32", code=2).stderr


def test_priority_is_option_environment_project_user(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "model", sd1)
    run("config", "set", "steps", "11")
    run("config", "set", "guidance_scale", "2.5")
    assert record("txt2img", "x")["steps"] == 11
    run("config", "set", "txt2img.steps", "12", "--project")
    assert record("txt2img", "x")["steps"] == 12
    assert record("img2img", "in.png")["steps"] == 11
    monkeypatch.setenv("ARTGEN_STEPS", "13")
    assert record("txt2img", "x")["steps"] == 13
    image_record = record("txt2img", "x", "--steps", "14")
    assert (image_record["steps"], image_record["guidance_scale"]) == (14, 2.5)


def test_environment_values_are_separated_by_commas(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("my style", "red, blue", "other")):
        tiny_loras.diffusers_lora(Path(f"{name}.safetensors"), Path(sd1), seed=seed)
    arguments = ("txt2img", "x", "-m", sd1)
    text = 'my style.safetensors:0.5, "red, blue.safetensors"'
    both = ["my style.safetensors:0.5", "red, blue.safetensors:1"]
    run("config", "set", "lora", text)
    assert record(*arguments)["lora"] == both
    run("config", "set", "lora", "other.safetensors")
    assert record(*arguments)["lora"] == ["other.safetensors:1"]
    monkeypatch.setenv("ARTGEN_LORA", text)
    assert record(*arguments)["lora"] == both
    assert record(*arguments, "--lora", "other.safetensors:2")["lora"] == ["other.safetensors:2"]
    Path("p.txt").write_text("a fox\n")
    printed = run("batch", "p.txt", "-m", sd1, "--dry-run", "--json").stdout
    assert json.loads(printed)["lora"] == both
    monkeypatch.setenv("ARTGEN_LORA", "one\ntwo")
    assert "commas" in run(*arguments, code=2).stderr
    run("info", "in.png", code=3)  # does not read the variable


def test_error_names_the_invalid_configuration_file() -> None:
    Path("artgen.toml").write_text("steps = 'many'\n")
    assert "artgen.toml" in run("txt2img", "x", code=3).stderr
    Path("artgen.toml").write_text("stepz = 3\n")
    assert "steps" in run("txt2img", "x", code=3).stderr
    Path("artgen.toml").write_text("steps = \n")
    assert "TOML" in run("txt2img", "x", code=3).stderr


def test_config_set_preserves_comments() -> None:
    Path("artgen.toml").write_text("# mine\nsteps = 3 # three\n")
    run("config", "set", "steps", "4", "--project")
    assert Path("artgen.toml").read_text() == "# mine\nsteps = 4 # three\n"
    run("config", "set", "steps", "", "--project")
    assert "steps" not in Path("artgen.toml").read_text()


def test_more_steps_than_timesteps_are_rejected(sd1: str) -> None:
    assert "1,000" in run("txt2img", "x", "-m", sd1, "--steps", "1000", "--scheduler", "ddim", code=2).stderr


def test_priority_of_the_model_is_option_environment_file(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "model", sd1)
    assert record("txt2img", "x")["model"] == "sd1"
    monkeypatch.setenv("ARTGEN_MODEL", "tiny")
    assert record("txt2img", "x")["model"] == "tiny"
    assert record("txt2img", "x", "-m", sd1)["model"] == "sd1"


@pytest.mark.parametrize("project", [(), ("--project",)])
def test_unusable_configuration_path_is_reported(project: tuple[str, ...]) -> None:
    path = Path(run("config", "path", *project).stdout.strip())
    path.mkdir(parents=True)
    message = run("config", "set", "steps", "3", *project, code=74).stderr
    assert path.name in message
    assert len(message.splitlines()) == 2, "an error and a hint"
    assert "is ignored" in run("config", "show").stderr


UNDECODABLE = os.fsdecode(b"f\xf6x")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("txt2img", UNDECODABLE), 2),
        (("txt2img", "x", "-n", UNDECODABLE), 2),
        (("txt2img", "x", "-m", UNDECODABLE), 2),
        (("txt2img", "x", "-m", f"{UNDECODABLE}/{UNDECODABLE}"), 2),
        (("txt2img", "x", "-o", f"{UNDECODABLE}.png"), 2),
        (("txt2img", "x", f"--{UNDECODABLE}"), 2),
        (("img2img", f"{UNDECODABLE}.png"), 3),
        (("inpaint", "in.png", "--mask", f"{UNDECODABLE}.png"), 3),
        (("info", f"{UNDECODABLE}.png"), 3),
        (("replay", f"{UNDECODABLE}.png"), 3),
        (("models", "show", UNDECODABLE), 2),
        (("config", "set", "model", UNDECODABLE), 2),
        ((UNDECODABLE,), 2),
    ],
)
def test_arguments_that_are_not_text_are_rejected_with_an_error(arguments: tuple[str, ...], code: int) -> None:
    message = run(*arguments, code=code).stderr
    assert "f\\udcf6x" in message or "UTF-8" in message
    assert message.startswith("error: ")


def test_file_names_that_are_not_text_are_supported(sd1: str) -> None:
    image, model = f"{UNDECODABLE}.png", f"./{UNDECODABLE}"
    Path("in.png").rename(image)
    Path(model).symlink_to(sd1)
    image_record = record("img2img", image, "-m", model)
    assert (image_record["image"], image_record["model"]) == (image, UNDECODABLE)
    ran = artgen("img2img", image, "-m", "tiny", "--dry-run", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = ran.communicate(timeout=300)
    assert ran.returncode == 0, stderr
    assert stdout.startswith(b"task=img2img")
