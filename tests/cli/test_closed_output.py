"""Test that a closed pipe ends every command without a message (`artgen ... | head -1`)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from command_line import FAST, run, save_inputs_of_all_commands
from history_entries import add_image

from artgen.cli.main import COMMAND_SUMMARIES, app, load_command

DRY_RUN = ("-m", "tiny", *FAST, "--dry-run")
DENOISE = ("denoise", "in.png", "--method", "tv")
NUM_PROMPTS = 12

PRINTING_COMMANDS = [
    ("--version",),
    ("--help",),
    ("--show-completion", "bash"),
    ("txt2img", "x", *DRY_RUN),
    ("txt2img", "x", *DRY_RUN, "--json"),
    ("txt2img", "x", *DRY_RUN, "--sweep", "steps=2,3"),
    ("img2img", "in.png", "x", *DRY_RUN),
    ("inpaint", "in.png", "x", "--mask", "mask.png", *DRY_RUN),
    ("outpaint", "in.png", "x", "--expand", "8", *DRY_RUN),
    ("sample", "-m", "denoiser", "--dry-run"),
    (*DENOISE, "--dry-run"),
    ("control", "gray", "in.png"),
    ("mask", "in.png", "x", "--dry-run"),
    ("edit", "--json-schema"),
    ("upscale", "in.png", "--dry-run"),
    ("noise", "in.png"),
    ("anomaly", "in.png", "--dry-run"),
    ("batch", "prompts.txt", *DRY_RUN),
    ("train", "photos", "--resolution", "32", "-o", "x.safetensors", "--dry-run", "--json"),
    ("rank", "in.png", "--prompt", "x", "--dry-run"),
    ("reconstruct", "in.png", "-m", "tiny"),
    ("sheet", "in.png"),
    ("gallery", "photos"),
    ("info", "record.json"),
    ("info", "record.json", "--json"),
    ("verify", "trained.safetensors"),
    ("replay", "record.json", "--dry-run"),
    ("morph", "record.json", "record.json", "--dry-run"),
    ("variations", "in.png", "--set", "model=tiny", "--dry-run"),
    ("models", "list"),
    ("models", "list", "--json"),
    ("models", "show", "tiny"),
    ("models", "path", "tiny"),
    ("models", "verify", "tiny"),
    ("schedulers",),
    ("prompt", "a (red:1.2) fox", "-m", "tiny"),
    ("prompt", "a (red:1.2) fox", "-m", "tiny", "--json"),
    ("styles",),
    ("doctor",),
    ("doctor", "--json"),
    ("config", "show"),
    ("config", "path"),
    ("history",),
    ("history", "show", "1", "--json"),
    ("history", "export"),
    ("preset", "list"),
    ("preset", "show", "small"),
    ("cache", "list"),
    ("cache", "clear", "--json"),
    ("sign", "init"),
    ("worker", "status"),
]
"""A command line of each command that prints to stdout. The exit code is 0 also if the output is read."""


@pytest.fixture
def closed_pipe() -> Iterator[TextIO]:
    """Return a stream whose reader has closed the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    yield stream
    stream.close()


@pytest.fixture
def _inputs() -> None:
    save_inputs_of_all_commands()


def exit_code(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as exited:
        app(list(arguments), prog_name="artgen")
    return exited.value.code


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize("arguments", PRINTING_COMMANDS, ids=" ".join)
def test_closed_stdout_ends_without_a_message(
    arguments: tuple[str, ...],
    closed_pipe: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if arguments[0] == "history":
        run("history", "rate", str(add_image("in.png")), "4")
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    assert exit_code(*arguments) == 0
    assert "rror" not in capfd.readouterr().err


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize("name", COMMAND_SUMMARIES)
def test_every_help_ends_without_a_message(
    name: str, closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    for subcommand in getattr(load_command(name), "commands", None) or [""]:
        assert exit_code(name, *filter(None, [subcommand]), "--help") == 0
    assert capfd.readouterr().err == ""


def test_the_list_contains_every_command() -> None:
    runs_until_stopped = {"serve"}
    assert {arguments[0] for arguments in PRINTING_COMMANDS} >= COMMAND_SUMMARIES.keys() - runs_until_stopped


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_generation_stops_before_the_next_image(
    sd1: str, stream: str, closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, stream, closed_pipe)
    code = exit_code("txt2img", "x", "-m", sd1, *FAST, "--count", "3", "--batch-size", "1")
    assert code == 141
    assert len(list(Path().glob("outputs/*"))) < 3
    assert "rror" not in capfd.readouterr().err


@pytest.mark.usefixtures("_inputs")
def test_batch_stops_and_continues(
    sd1: str, closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("many.txt").write_text("\n".join(f"image {number}" for number in range(NUM_PROMPTS)))
    arguments = ("batch", "many.txt", "-m", sd1, *FAST, "--batch-size", "1", "-o", "out/")
    with monkeypatch.context() as context:
        context.setattr(sys, "stdout", closed_pipe)
        assert exit_code(*arguments) == 141
    # The images that were complete or in work when the first name could not be printed.
    assert 1 <= len(list(Path("out").glob("*.png"))) < NUM_PROMPTS
    assert exit_code(*arguments) == 0
    assert len(list(Path("out").glob("*.png"))) == NUM_PROMPTS
    assert "rror" not in capfd.readouterr().err


@pytest.mark.usefixtures("_inputs")
def test_last_image_is_saved_and_the_exit_code_is_0(
    sd1: str, closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    assert exit_code("txt2img", "x", "-m", sd1, *FAST, "-o", "x.png", "-q") == 0
    assert Path("x.png").is_file()
