"""Test the commands that generate images: the images, the printed text and the written files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from command_line import FAST, run, save_inputs
from PIL import Image

import artgen


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()


def test_paths_are_printed_to_stdout_and_notes_to_stderr(sd1: str) -> None:
    result = run("txt2img", "a red fox", "-m", sd1, "--steps", "2", "--seed", "7", "--count", "2")
    assert result.stdout.splitlines() == ["outputs/00001-7-a-red-fox.png", "outputs/00002-8-a-red-fox.png"]
    first, *rest = result.stderr.splitlines()
    assert "on the CPU" in first
    assert "fp32" in first
    assert [re.sub(r"[\d.]+ s", "N s", line) for line in rest] == ["Seed 7, N s.", "Seed 8, N s.", "2 images in N s."]
    assert "\x1b" not in result.output


def test_json_prints_one_record_per_line(sd1: str) -> None:
    lines = run("txt2img", "狐 [/nope]\x1b", "-m", sd1, *FAST, "--json", "-q").stdout.splitlines()
    image_record = json.loads(lines[0])
    assert len(lines) == 1
    assert image_record["prompt"] == "狐 [/nope]\x1b"
    assert image_record["seed"] == 7
    assert Path(image_record["file"]).is_file()
    assert json.loads(run("info", "--json", image_record["file"]).stdout)["prompt"] == image_record["prompt"]


def test_quiet_prints_no_notes(sd1: str) -> None:
    assert run("txt2img", "x", "-m", sd1, *FAST, "-q").stderr == ""


def test_dry_run_generates_nothing(sd1: str) -> None:
    result = run("txt2img", "x", "-m", sd1, "--seed", "1,4-6", "--dry-run")
    assert [line.split("seed=")[1].split()[0] for line in result.stdout.splitlines()] == ["1", "4", "5", "6"]
    assert "4 images would be generated" in result.stderr
    assert not Path("outputs").exists()


def test_image_tasks_generate_and_replay(sd1: str) -> None:
    for arguments in (
        ("img2img", "in.png"),
        ("inpaint", "in.png", "--mask", "mask.png", "a fox"),
        ("outpaint", "in.png", "--expand", "left=7"),
    ):
        out = run(*arguments, "-m", sd1, *FAST, "-o", f"{arguments[0]}.png").stdout.strip()
        assert out == f"{arguments[0]}.png"
    assert Image.open("img2img.png").size == Image.open("inpaint.png").size == (33, 47)
    assert Image.open("outpaint.png").size == (40, 47)
    again = run("replay", "inpaint.png", "--set", f"model={sd1}", "-o", "again.png")
    assert again.stdout.strip() == "again.png"
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(Image.open("inpaint.png")))
    changed = run("replay", "inpaint.png", "--set", f"model={sd1}", "--set", "seed=8", "-o", "other.png")
    assert changed.exit_code == 0
    assert not np.array_equal(np.asarray(Image.open("other.png")), np.asarray(Image.open("inpaint.png")))


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "png"])
def test_format_option_selects_the_file_format(sd1: str, image_format: str) -> None:
    path = run("txt2img", "a fox", "-m", sd1, *FAST, "--format", image_format).stdout.strip()
    assert Image.open(path).format == image_format.upper()
    assert json.loads(run("info", "--json", path).stdout)["seed"] == 7


def test_existing_files_are_overwritten_only_with_overwrite(sd1: str) -> None:
    run("txt2img", "a", "-m", sd1, *FAST, "-o", "x.png")
    before = Path("x.png").read_bytes()
    assert "x.png" in run("txt2img", "b", "-m", sd1, *FAST, "-o", "x.png", code=74).stderr
    assert Path("x.png").read_bytes() == before
    run("txt2img", "b", "-m", sd1, *FAST, "-o", "x.png", "--overwrite")
    assert Path("x.png").read_bytes() != before


def test_metadata_none_writes_no_metadata(sd1: str) -> None:
    run("txt2img", "secret", "-m", sd1, *FAST, "-o", "x.png", "--metadata", "none")
    assert b"secret" not in Path("x.png").read_bytes()
    run("replay", "x.png", code=3)


def test_nan_exits_with_9_and_writes_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tiny_models.without_numbers(tmp_path / "broken", models["sd1"])
    assert "NaN" in run("txt2img", "x", "-m", str(broken), *FAST, code=9).stderr
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir())


def test_invalid_output_folder_is_reported_before_generation(sd1: str) -> None:
    Path("taken").write_text("a file")
    result = run("txt2img", "x", "-m", sd1, *FAST, "-o", "taken/", code=74)
    assert "taken" in result.stderr
    assert "on the CPU" not in result.stderr


def test_verbose_prints_versions_files_and_the_time_of_each_stage(sd1: str) -> None:
    lines = run("txt2img", "x", "-m", sd1, *FAST, "-v", "-o", "a.png").stderr.splitlines()
    assert lines[0].startswith(f"artgen {artgen.__version__}, Python 3.")
    assert all(f"{name} " in lines[0] for name in ("torch", "diffusers", "transformers"))
    assert any(line.startswith("Model ") and f"'{sd1}'" in line for line in lines)
    (times,) = (line for line in lines if line.startswith("Time: "))
    assert re.findall(r"(\w+) \d+\.\d\d s", times) == ["start", "load", "encode", "denoise", "decode", "save"]
    quiet = run("txt2img", "x", "-m", sd1, *FAST, "-v", "-q", "-o", "b.png")
    assert not quiet.stderr


def test_schedulers_json_has_names_and_aliases() -> None:
    lines = [json.loads(line) for line in run("schedulers", "--json").stdout.splitlines()]
    assert {"name", "label", "class", "aliases"} <= set(lines[0])


def test_doctor_json_reports_versions_and_device() -> None:
    status = json.loads(run("doctor", "--json").stdout)
    assert status["bundled_model"] == "intact"
    assert status["packages"]["torch"].startswith("2.")
    assert status["device"]
    assert isinstance(status["advice"], list)


def test_doctor_reports_an_invalid_configuration_file() -> None:
    Path("artgen.toml").write_text("steps = \n")
    status = json.loads(run("doctor", "--json").stdout)
    assert status["default_model"] is None
    assert "'artgen.toml': it is not valid TOML" in status["errors"][0]
