"""Test that every command that writes exits with 74 if no file can grow (`ulimit -f 0`)."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import FAST, run, save_inputs
from PIL import Image
from pseudo_terminal import artgen

WRITING_COMMANDS = [
    ("txt2img", "x", "-m", "tiny", *FAST, "-o", "x.png"),
    ("txt2img", "x", "-m", "tiny", *FAST, "--sweep", "steps=1,2", "-o", "out/"),
    ("batch", "prompts.txt", "-m", "tiny", *FAST, "-o", "out/"),
    ("denoise", "in.png", "--method", "tv"),
    ("noise", "in.png"),
    ("anomaly", "in.png", "--map", "map.png"),
    ("reconstruct", "in.png", "-m", "tiny"),
    ("sheet", "in.png"),
    ("gallery", "in.png"),
    ("train", "photos", "--resolution", "32", "--train-steps", "1", "-o", "x.safetensors"),
    ("config", "set", "steps", "3"),
    ("models", "alias", "mine", "tiny"),
    ("--install-completion", "bash"),
]


@pytest.fixture
def _no_space() -> Iterator[None]:
    """Write the inputs, and then forbid that a file grows."""
    import torch  # noqa: F401 - the import needs temporary files

    save_inputs()
    Path("photos").mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 50).convert("RGB").save(f"photos/{number}.png")
    Path("prompts.txt").write_text("a fox\na car\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("_no_space")
@pytest.mark.parametrize("arguments", WRITING_COMMANDS, ids=" ".join)
def test_full_disk_exits_with_74(arguments: tuple[str, ...]) -> None:
    assert "error: Cannot write" in run(*arguments, code=74).stderr


def test_no_temporary_folder_exits_with_74() -> None:
    process = artgen(
        *("txt2img", "x", "-m", "tiny", *FAST),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    _, message = process.communicate(timeout=300)
    assert process.returncode == 74, message
    assert b"Traceback" not in message


def test_removed_working_directory_is_an_input_error(tmp_path: Path) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()

    def enter_and_remove() -> None:
        os.chdir(folder)
        folder.rmdir()

    process = artgen(
        *("config", "path", "--project"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=enter_and_remove
    )
    _, message = process.communicate(timeout=300)
    assert process.returncode == 3, message
    assert b"Traceback" not in message
