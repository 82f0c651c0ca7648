"""Test `--show` and `--open`: images in the terminal, and the default program of the system."""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import FAST, run, save_inputs_of_all_commands
from PIL import Image
from pseudo_terminal import Terminal
from terminal_images_decoder import decode_blocks, decode_iterm2, decode_kitty
from terminal_stream import TerminalStream

from artgen.cli.main import app, load_command

SHOWING_COMMANDS = [
    ("sheet", "in.png"),
    ("info", "in.png"),
    ("noise", "in.png", "-o", "noise.png"),
    ("denoise", "in.png", "--method", "tv", "-o", "clean.png"),
    ("txt2img", "x", "-m", "SD1", *FAST, "-o", "x.png"),
    ("txt2img", "x", "-m", "SD1", *FAST, "--sweep", "steps=1,2"),
    ("img2img", "in.png", "x", "-m", "SD1", *FAST, "--strength", "1", "-o", "x.png"),
    ("inpaint", "in.png", "x", "-m", "SD1", *FAST, "--mask", "mask.png", "-o", "x.png"),
    ("outpaint", "in.png", "x", "-m", "SD1", *FAST, "--expand", "8", "-o", "x.png"),
    ("sample", "-m", "denoiser", "--steps", "1", "-o", "x.png"),
    ("batch", "prompts.txt", "-m", "SD1", *FAST),
    ("anomaly", "in.png"),
    ("reconstruct", "in.png", "-m", "tiny"),
    ("replay", "record.json"),
]
"""A command line of each command that shows images."""


@pytest.fixture(autouse=True)
def _inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    save_inputs_of_all_commands()
    Path("artgen.toml").unlink()
    for name in ("TMUX", "STY", "ZELLIJ", "COLORTERM", "KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def run_on_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run a command whose stderr is a terminal. Return the text on the terminal."""
    stream = TerminalStream()
    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit):
            app(list(arguments), prog_name="artgen")
    return stream.getvalue()


@pytest.mark.parametrize("arguments", SHOWING_COMMANDS, ids=" ".join)
def test_commands_show_their_image_on_stderr(
    arguments: tuple[str, ...], sd1: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = tuple(sd1 if each == "SD1" else each for each in arguments)
    shown = run_on_terminal(monkeypatch, *typed, "--show")
    assert "\u2580" in shown, shown
    assert "\x1b" not in capsys.readouterr().out
    if len(load_command(arguments[0]).params) > 5:
        assert "\u2580" not in run_on_terminal(monkeypatch, *typed, "--overwrite", "--dry-run", "--show")


ENVIRONMENTS: list[tuple[dict[str, str], Callable[[str], Any]]] = [
    ({"TERM": "xterm-kitty"}, lambda text: decode_kitty(text)[0]),
    ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, lambda text: decode_iterm2(text)[0]),
    ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, lambda text: decode_blocks(text.splitlines())),
    ({"TERM": "xterm-kitty", "TMUX": "1", "COLORTERM": "truecolor"}, lambda text: decode_blocks(text.splitlines())),
]


@pytest.mark.parametrize(("environment", "decode"), ENVIRONMENTS, ids=("kitty", "iterm2", "true-color", "tmux"))
def test_terminal_receives_the_pixels(environment: dict[str, str], decode: Callable[[str], Any]) -> None:
    terminal = Terminal("info", "in.png", "--show", size=(60, 60), **environment)
    terminal.wait()
    text, _, rest = terminal.output.decode().replace("\r\n", "\n").partition("\x1b[31m")
    assert "contains no generation metadata" in rest
    assert decode(text).tobytes() == Image.open("in.png").tobytes()


@pytest.mark.parametrize(
    ("environment", "reason"), [({"NO_COLOR": "1"}, "NO_COLOR is set"), ({"TERM": "dumb"}, "TERM is dumb")]
)
def test_terminals_without_styles_receive_a_note(environment: dict[str, str], reason: str) -> None:
    terminal = Terminal("sheet", "in.png", "--show", **environment)
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.output.decode()
    assert f"Cannot show the image in the terminal: {reason}." in terminal.lines()


def test_pipes_receive_no_image_and_only_a_typed_option_gives_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    note = "Cannot show the image in the terminal: stderr is not a terminal."
    result = run("sheet", "in.png", "--show", "-o", "1.png")
    assert note in result.stderr
    assert result.stdout == "1.png\n"
    monkeypatch.setenv("ARTGEN_SHOW", "1")
    assert "terminal" not in run("sheet", "in.png", "-o", "2.png").stderr
    assert "\x1b" not in result.output


def test_setting_of_the_configuration_shows_and_no_show_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "show", "true")
    arguments = ("denoise", "in.png", "--method", "tv", "-o", "a.png")
    for each in (arguments, ("sheet", "in.png", "--overwrite"), ("info", "in.png")):
        assert "\u2580" in run_on_terminal(monkeypatch, *each), each
        assert "\u2580" not in run_on_terminal(monkeypatch, *each, "--no-show"), each
    assert "\u2580" not in run_on_terminal(monkeypatch, *arguments, "--overwrite", "-q")
    assert "\u2580" in run_on_terminal(monkeypatch, *arguments, "--overwrite", "-q", "--show")
    run("config", "set", "show", "")
    assert "\u2580" not in run_on_terminal(monkeypatch, "info", "in.png")


def test_image_of_a_file_that_is_not_an_image_gives_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run_on_terminal(monkeypatch, "info", "record.json", "in.png", "--show")
    assert "Cannot show the image in the terminal: Cannot read 'record.json'" in shown
    assert "\u2580" in shown


def test_image_on_stdout_gives_a_note(sd1: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.raises(SystemExit):
        app(["txt2img", "x", "-m", sd1, *FAST, "-o", "-", "--show", "--open"], prog_name="artgen")
    written, notes = capfdbinary.readouterr()
    assert written.startswith(b"\x89PNG")
    assert b"Cannot show the image" in notes
    assert b"Cannot open the image: it is not written to a file." in notes


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Install a program `xdg-open` that lists its arguments. Return a function that returns them."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "xdg-open"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" > {programs}/part; mv {programs}/part {programs}/list\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")

    def read() -> list[str]:
        for _ in range(600):
            if (programs / "list").exists():
                return (programs / "list").read_text().splitlines()
            time.sleep(0.05)
        raise AssertionError("xdg-open was not called")

    return read


@pytest.mark.skipif(sys.platform != "linux", reason="the program has another name")
@pytest.mark.parametrize(
    "name", ["a.png", "-x.png", "a b;touch pwned.png", "$(touch pwned).png", "'\"`x`.png", "ü 狐.png"]
)
def test_name_of_a_file_is_one_argument_of_the_program(name: str, opened: Callable[[], list[str]]) -> None:
    run("sheet", "in.png", f"--output={name}", "--open")
    assert opened() == ["1", str(Path(name).absolute())]
    assert not Path("pwned").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the program has another name")
def test_several_images_open_their_folder(sd1: str, opened: Callable[[], list[str]]) -> None:
    run("txt2img", "x", "-m", sd1, *FAST, "--count", "2", "-o", "images/", "--open")
    assert opened() == ["1", str(Path("images").absolute())]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no variable for the display")
def test_missing_display_or_program_gives_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Cannot open the image: a display was not found" in run("sheet", "in.png", "--open", "-o", "1.png").stderr
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "xdg-open is not installed" in run("sheet", "in.png", "--open", "-o", "2.png").stderr
    monkeypatch.setenv("ARTGEN_OPEN", "1")
    assert "open" not in run("sheet", "in.png", "-o", "3.png").stderr


@pytest.mark.slow
def test_path_follows_the_image_in_the_last_line(sd1: str) -> None:
    terminal = Terminal("txt2img", "x", "-m", sd1, *FAST, "--show", COLORTERM="truecolor", TERM="xterm-256color")
    assert terminal.wait() == 0
    *_, block, last = terminal.lines()
    assert set(block) == {"\u2580"}
    assert re.fullmatch(r"Seed 7, [\d.]+ s: outputs/00001-7-x\.png", last)
