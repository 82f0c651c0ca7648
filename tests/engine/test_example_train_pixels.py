"""Run the commands of the README of `examples/train_pixels` with few images and few steps."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from command_line import run
from PIL import Image

from artgen.dataset.read import read_dataset
from artgen.spec.settings import DatasetSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_pixels"
SMALL = {
    "train": ("--train-steps", "2", "--batch-size", "2", "--snapshot-every", "0"),
    "sample": ("--count", "3", "--steps", "2"),
    "landscapes.py": ("--count", "6"),
    "show_samples.py": (),
}
"""Arguments that replace arguments of the README."""


def readme_commands() -> list[list[str]]:
    text = (EXAMPLE / "README.md").read_text()
    blocks = re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    return [shlex.split(line) for line in "".join(blocks).replace("\\\n", "").splitlines()]


def test_commands_of_the_readme_train_and_sample_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = readme_commands()
    assert [command[1] for command in commands][1:3] == ["train", "sample"]
    for program, *arguments in commands:
        if program == "python":
            script = Path(arguments[0])
            monkeypatch.setattr(sys, "argv", [*arguments, *SMALL[script.name]])
            runpy.run_path(str(EXAMPLE / script.name), run_name="__main__")
        else:
            run(*arguments, *SMALL[arguments[0]])
    data = Path("data/train_pixels")
    assert len(list((data / "samples").glob("*.png"))) == 3
    assert {Image.open(path).size for path in (data / "samples").glob("*.png")} == {(32, 32)}
    assert Image.open(data / "comparison.png").size == (1024, 2 * 128 + 16)
    dataset = read_dataset(DatasetSettings(folder=data / "images", resolution=32, licenses="CC0-1.0"))
    assert len(dataset.images) == 6


def test_landscapes_depend_only_on_their_number() -> None:
    render = runpy.run_path(str(EXAMPLE / "landscapes.py"))["render_landscape"]
    images = [render(seed).tobytes() for seed in (0, 1, 2, 0)]
    assert images[0] == images[3]
    assert len(set(images)) == 3
