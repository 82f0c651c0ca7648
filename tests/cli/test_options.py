"""Options as people type them, and where their values come from."""

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
    ("words", "name", "value"),
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
def test_other_tools_spellings(sd1: str, words: tuple[str, ...], name: str, value: object) -> None:
    assert record("txt2img", "x", "-m", sd1, *words)[name] == value


@pytest.mark.parametrize(
    "words",
    [
        ("in.png", "a fox"),
        ("-i", "in.png", "a fox"),
        ("--init-image", "in.png", "-p", "a fox"),
        ("in.png", "--prompt=a fox"),
    ],
)
def test_a_picture_and_a_prompt_with_or_without_flags(sd1: str, words: tuple[str, ...]) -> None:
    made = record("img2img", *words, "-m", sd1)
    assert (made["image"], made["prompt"]) == ("in.png", "a fox")


def test_counts_have_other_names(sd1: str) -> None:
    lines = run("txt2img", "x", "-m", sd1, "-s", "5", "--num-images", "3", "--dry-run", "--json").stdout.splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [5, 6, 7]


def test_a_random_seed_is_said_and_recorded(sd1: str) -> None:
    first, second = (record("txt2img", "x", "-m", sd1, "--seed", "-1")["seed"] for _ in range(2))
    assert first != second
    assert 0 <= first < 2**32


def test_the_prompt_comes_from_stdin(sd1: str) -> None:
    assert record("txt2img", "-", "-m", sd1, input="\ufeffa fox\r\n".encode())["prompt"] == "a fox"
    run("txt2img", "-", "-m", sd1, input=b"a f\xf6x", code=2)


def test_a_prompt_may_begin_with_a_dash(sd1: str) -> None:
    result = run("txt2img", "-m", sd1, "--dry-run", "--json", "--", "--steps")
    assert json.loads(result.stdout)["prompt"] == "--steps"


def test_size_and_width_together_are_refused(sd1: str) -> None:
    assert "--size" in run("txt2img", "x", "-m", sd1, "--size", "32x32", "-W", "32", code=2).stderr


def test_flags_beat_environment_beats_project_beats_user(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "model", sd1)
    run("config", "set", "steps", "11")
    run("config", "set", "guidance_scale", "2.5")
    assert record("txt2img", "x")["steps"] == 11
    run("config", "set", "txt2img.steps", "12", "--project")
    assert record("txt2img", "x")["steps"] == 12
    assert record("img2img", "in.png")["steps"] == 11
    monkeypatch.setenv("ARTGEN_STEPS", "13")
    assert record("txt2img", "x")["steps"] == 13
    made = record("txt2img", "x", "--steps", "14")
    assert (made["steps"], made["guidance_scale"]) == (14, 2.5)


def test_several_values_in_the_environment_stand_between_commas(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("my style", "red, blue", "other")):
        tiny_loras.diffusers_lora(Path(f"{name}.safetensors"), Path(sd1), seed=seed)
    words = ("txt2img", "x", "-m", sd1)
    text = 'my style.safetensors:0.5, "red, blue.safetensors"'
    both = ["my style.safetensors:0.5", "red, blue.safetensors:1"]
    run("config", "set", "lora", text)
    assert record(*words)["lora"] == both
    run("config", "set", "lora", "other.safetensors")
    assert record(*words)["lora"] == ["other.safetensors:1"]
    monkeypatch.setenv("ARTGEN_LORA", text)
    assert record(*words)["lora"] == both
    assert record(*words, "--lora", "other.safetensors:2")["lora"] == ["other.safetensors:2"]
    Path("p.txt").write_text("a fox\n")
    printed = run("batch", "p.txt", "-m", sd1, "--dry-run", "--json").stdout
    assert json.loads(printed)["lora"] == both
    monkeypatch.setenv("ARTGEN_LORA", "one\ntwo")
    assert "commas" in run(*words, code=2).stderr
    run("info", "in.png", code=3)  # takes no LoRA and is not in the way


def test_a_broken_configuration_file_is_named() -> None:
    Path("artgen.toml").write_text("steps = 'many'\n")
    assert "artgen.toml" in run("txt2img", "x", code=3).stderr
    Path("artgen.toml").write_text("stepz = 3\n")
    assert "steps" in run("txt2img", "x", code=3).stderr
    Path("artgen.toml").write_text("steps = \n")
    assert "TOML" in run("txt2img", "x", code=3).stderr


def test_config_set_keeps_comments() -> None:
    Path("artgen.toml").write_text("# mine\nsteps = 3 # three\n")
    run("config", "set", "steps", "4", "--project")
    assert Path("artgen.toml").read_text() == "# mine\nsteps = 4 # three\n"
    run("config", "set", "steps", "", "--project")
    assert "steps" not in Path("artgen.toml").read_text()


def test_more_steps_than_timesteps_are_refused(sd1: str) -> None:
    assert "1000" in run("txt2img", "x", "-m", sd1, "--steps", "1000", "--scheduler", "ddim", code=2).stderr


def test_flag_beats_environment_beats_files_for_the_model(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "model", sd1)
    assert record("txt2img", "x")["model"] == "sd1"
    monkeypatch.setenv("ARTGEN_MODEL", "tiny")
    assert record("txt2img", "x")["model"] == "tiny"
    assert record("txt2img", "x", "-m", sd1)["model"] == "sd1"


@pytest.mark.parametrize("project", [(), ("--project",)])
def test_a_configuration_path_that_cannot_be_used_is_said(project: tuple[str, ...]) -> None:
    path = Path(run("config", "path", *project).stdout.strip())
    path.mkdir(parents=True)
    said = run("config", "set", "steps", "3", *project, code=74).stderr
    assert path.name in said
    assert len(said.splitlines()) == 2, "what is wrong, and what to do"


UNDECODABLE = os.fsdecode(b"f\xf6x")


@pytest.mark.parametrize(
    ("words", "code"),
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
def test_bytes_that_are_no_text_are_refused_in_words(words: tuple[str, ...], code: int) -> None:
    said = run(*words, code=code).stderr
    assert "f\\udcf6x" in said or "UTF-8" in said
    assert said.startswith("error: ")


def test_a_file_whose_name_is_no_text_is_a_file(sd1: str) -> None:
    picture, model = f"{UNDECODABLE}.png", f"./{UNDECODABLE}"
    Path("in.png").rename(picture)
    Path(model).symlink_to(sd1)
    made = record("img2img", picture, "-m", model)
    assert (made["image"], made["model"]) == (picture, UNDECODABLE)
    ran = artgen("img2img", picture, "-m", "tiny", "--dry-run", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shown, said = ran.communicate(timeout=300)
    assert ran.returncode == 0, said
    assert shown.startswith(b"task=img2img")
