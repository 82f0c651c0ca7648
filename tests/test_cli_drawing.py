"""The drawing commands as people and scripts use them, on a tiny real model."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from artgen.cli.main import app

FAST = ("--steps", "2", "--seed", "7")


@pytest.fixture
def sd1(models: dict[str, Path]) -> str:
    return str(models["sd1"])


@pytest.fixture(autouse=True)
def _inputs() -> None:
    Image.new("RGB", (33, 47), "orange").save("in.png")
    mask = Image.new("L", (33, 47))
    mask.paste(255, (5, 5, 20, 20))
    mask.save("mask.png")


def run(*words: str, code: int = 0, **more: Any) -> Result:
    result = CliRunner().invoke(app, list(words), **more)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def record(*words: str, **more: Any) -> dict[str, Any]:
    """The record of a dry run."""
    loaded: dict[str, Any] = json.loads(run(*words, "--dry-run", "--json", **more).stdout)
    return loaded


def test_stdout_has_paths_and_stderr_the_rest(sd1: str) -> None:
    result = run("txt2img", "a red fox", "-m", sd1, "--steps", "2", "--seed", "7", "--count", "2")
    assert result.stdout.splitlines() == ["outputs/00001-7-a-red-fox.png", "outputs/00002-8-a-red-fox.png"]
    first, *rest = result.stderr.splitlines()
    assert "on the CPU" in first
    assert "fp32" in first
    assert rest == ["seed 7", "seed 8"]
    assert "\x1b" not in result.output


def test_json_is_one_record_a_line(sd1: str) -> None:
    lines = run("txt2img", "狐 [/nope]\x1b", "-m", sd1, *FAST, "--json", "-q").stdout.splitlines()
    made = json.loads(lines[0])
    assert len(lines) == 1
    assert made["prompt"] == "狐 [/nope]\x1b"
    assert made["seed"] == 7
    assert Path(made["file"]).is_file()
    assert json.loads(run("info", "--json", made["file"]).stdout)["prompt"] == made["prompt"]


def test_quiet_says_nothing(sd1: str) -> None:
    assert run("txt2img", "x", "-m", sd1, *FAST, "-q").stderr == ""


def test_dry_run_draws_nothing(sd1: str) -> None:
    result = run("txt2img", "x", "-m", sd1, "--seed", "1,4-6", "--dry-run")
    assert [line.split("seed=")[1].split()[0] for line in result.stdout.splitlines()] == ["1", "4", "5", "6"]
    assert "4 pictures would be drawn" in result.stderr
    assert not Path("outputs").exists()


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


def test_every_picture_task_draws_and_says_so(sd1: str) -> None:
    for words in (
        ("img2img", "in.png"),
        ("inpaint", "in.png", "--mask", "mask.png", "a fox"),
        ("outpaint", "in.png", "--expand", "left=7"),
    ):
        out = run(*words, "-m", sd1, *FAST, "-o", f"{words[0]}.png").stdout.strip()
        assert out == f"{words[0]}.png"
    assert Image.open("img2img.png").size == Image.open("inpaint.png").size == (33, 47)
    assert Image.open("outpaint.png").size == (40, 47)
    again = run("replay", "inpaint.png", "--set", f"model={sd1}", "-o", "again.png")
    assert again.stdout.strip() == "again.png"
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(Image.open("inpaint.png")))
    changed = run("replay", "inpaint.png", "--set", f"model={sd1}", "--set", "seed=8", "-o", "other.png")
    assert changed.exit_code == 0
    assert not np.array_equal(np.asarray(Image.open("other.png")), np.asarray(Image.open("inpaint.png")))


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_formats(sd1: str, kind: str) -> None:
    path = run("txt2img", "a fox", "-m", sd1, *FAST, "--format", kind).stdout.strip()
    assert Image.open(path).format == kind.upper()
    assert json.loads(run("info", "--json", path).stdout)["seed"] == 7


def test_nothing_is_overwritten_unasked(sd1: str) -> None:
    run("txt2img", "a", "-m", sd1, *FAST, "-o", "x.png")
    before = Path("x.png").read_bytes()
    assert "x.png" in run("txt2img", "b", "-m", sd1, *FAST, "-o", "x.png", code=74).stderr
    assert Path("x.png").read_bytes() == before
    run("txt2img", "b", "-m", sd1, *FAST, "-o", "x.png", "--overwrite")
    assert Path("x.png").read_bytes() != before


def test_metadata_can_be_left_out(sd1: str) -> None:
    run("txt2img", "secret", "-m", sd1, *FAST, "-o", "x.png", "--metadata", "none")
    assert b"secret" not in Path("x.png").read_bytes()
    run("replay", "x.png", code=3)


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


def test_nan_leaves_with_nine_and_writes_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(models["sd1"], broken)
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][:] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    assert "NaN" in run("txt2img", "x", "-m", str(broken), *FAST, code=9).stderr
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir())


def test_an_unusable_folder_is_found_before_drawing(sd1: str) -> None:
    Path("taken").write_text("a file")
    result = run("txt2img", "x", "-m", sd1, *FAST, "-o", "taken/", code=74)
    assert "taken" in result.stderr
    assert "on the CPU" not in result.stderr


def artgen(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "artgen", *words], **more)


def test_control_c_drops_the_picture_and_leaves_with_130(sd1: str) -> None:
    process = artgen("txt2img", "x", "-m", sd1, "--steps", "900", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stderr is not None
    assert b"on the CPU" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"Interrupted" in said
    assert b"Traceback" not in said
    assert not list(Path().glob("outputs/*"))


def test_a_second_control_c_stops_at_once(sd1: str) -> None:
    process = artgen("txt2img", "x", "-m", sd1, "--steps", "900", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert b"stopping" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_undecodable_arguments_are_refused() -> None:
    command = [os.fsencode(sys.executable), b"-m", b"artgen", b"txt2img", b"f\xf6x"]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 2
    assert b"UTF-8" in ran.stderr


def test_hostile_strings_do_not_reach_a_terminal(tmp_path: Path) -> None:
    """On a pseudo-terminal, so that artgen believes that a person reads."""
    hostile = "\x1b]52;c;ZXZpbA==\x07[/nope]\u202e\x9b2J.png"
    leader, follower = pty.openpty()
    process = artgen("info", hostile, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"})
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    assert process.wait() == 3
    for raw in (b"\x1b]52", b"\x07", "\u202e".encode(), "\x9b".encode()):
        assert raw not in shown
    assert b"[/nope]" in shown


def test_a_closed_pipe_is_no_bug() -> None:
    process = artgen("schedulers", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 74
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [("txt2img", "--help"), ("info", "nope.png")])
def test_no_color_means_no_escapes_on_a_terminal_either(words: tuple[str, ...]) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = artgen(*words, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    process.wait()
    assert shown
    assert b"\x1b" not in shown


def test_a_value_that_is_no_text_is_refused() -> None:
    command = [os.fsencode(sys.executable), b"-m", b"artgen", b"config", b"set", b"model", b"f\xf6x"]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 2
    assert b"UTF-8" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_schedulers_as_json() -> None:
    lines = [json.loads(line) for line in run("schedulers", "--json").stdout.splitlines()]
    assert {"name", "label", "class", "aliases"} <= set(lines[0])


def test_doctor_knows_the_versions() -> None:
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["bundled model"] == "sound"
    assert facts["torch"].startswith("2.")
    assert facts["device"]
    assert isinstance(facts["advice"], list)
