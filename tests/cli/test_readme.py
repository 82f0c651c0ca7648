"""The README tells the truth: its commands run, its Python runs, its options exist."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw
from typer.testing import CliRunner

from artgen import registry
from artgen.cli.main import COMMAND_SUMMARIES, app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")

COMMANDS = re.findall(r"^    \$ artgen (.+?)(?:\s{2,}#.*)?$", README, re.MULTILINE)
NEEDS_DOWNLOAD = ("sdxl",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README assumes it: a picture and a mask of the bundled model's size."""
    work = tmp_path_factory.mktemp("readme")
    size = registry.resolve_model("tiny").native_size
    picture = Image.new("RGB", size, "skyblue")
    ImageDraw.Draw(picture).ellipse((10, 10, 50, 50), fill="orange")
    picture.save(work / "fox.png")
    noise = Image.effect_noise(size, 25)
    ImageChops.add(picture, Image.merge("RGB", [noise] * 3), 1, -128).save(work / "noisy.png")
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((20, 20, 40, 40), fill=255)
    mask.save(work / "mask.png")
    (work / "photos").mkdir()
    picture.save(work / "photos" / "fox.jpg")
    for name in ("normal", "new"):
        (work / name).mkdir()
    for number in range(19):
        Image.effect_noise((64, 64), 20 + number % 3).save(work / "normal" / f"{number:02}.png")
    whole = Image.effect_noise((64, 64), 21)
    whole.save(work / "new" / "whole.png")
    whole.paste(128, (20, 20, 40, 40))
    whole.save(work / "new" / "hurt.png")
    lines = re.search(r"^    \$ cat prompts\.txt\n((?:    .+\n)+)", README, re.MULTILINE)
    assert lines is not None
    (work / "prompts.txt").write_text(textwrap.dedent(lines[1]))
    return work


def test_readme_has_exactly_two_setup_commands() -> None:
    assert README.count("python3 -m venv") == 2
    for marker in ("install-and-draw", "install-and-test"):
        assert README.count(f"<!-- {marker} -->\n\n    python3 -m venv") == 1


def test_every_command_is_shown() -> None:
    for command in (
        "txt2img",
        "img2img",
        "inpaint",
        "outpaint",
        "denoise",
        "noise",
        "anomaly",
        "batch",
        "sheet",
        "train",
        "reconstruct",
        "info",
        "replay",
        "models",
        "doctor",
        "config",
    ):
        assert command in COMMAND_SUMMARIES
        assert re.search(rf"artgen {command}\b", README), command


def test_commands_of_the_readme_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one folder, as a reader would; those that need a download are refused for just that."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    runner = CliRunner()
    for line in COMMANDS:
        words = [
            name
            for word in shlex.split(line)
            for name in ("*" in word and sorted(map(str, Path().glob(word)))) or [word]
        ]
        if words[:2] == ["models", "alias"]:
            continue  # names a file of the reader's own
        if words[0] == "train":
            words += ["--train-steps", "2", "--snapshot-every", "0"]  # as many as show that it works
        result = runner.invoke(app, words)
        expected = 4 if any(word in NEEDS_DOWNLOAD for word in words) and words[0] != "config" else 0
        if words[:2] == ["models", "pull"]:
            expected = 4
        assert result.exit_code == expected, f"artgen {line}\n{result.output}\n{result.stderr}"


def test_python_of_the_readme_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    code = re.search(r"```python\n(.+?)```", README, re.DOTALL)
    assert code is not None
    exec(compile(code[1], "README.md", "exec"), {})
    assert "a red fox in the snow" in capsys.readouterr().out
    assert Image.open(folder / "fox.png").size == registry.resolve_model("tiny").native_size


def test_pictures_of_the_readme_exist() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    assert "@@" not in README
