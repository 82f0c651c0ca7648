"""Test completion in interactive shells. A shell that is not installed is skipped; bash always exists."""

import os
import re
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run

from artgen.cli.completion.shells import SCRIPTS

pty = pytest.importorskip("pty", reason="pseudo-terminals need POSIX")

SECONDS = 120
"""Time limit of one line. A completion takes 0.5 s of CPU time."""

PROGRAM = """#!/bin/sh
if [ -n "$_ARTGEN_COMPLETE" ]; then exec {python} -m artgen "$@"; fi
printf '<%s>' "$@"
printf '%s\\n' '<end>'
"""
"""A program `artgen` that completes as artgen, and else prints its arguments."""

START = {
    "bash": ["bash", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i", "-C", "function fish_prompt; echo '$ '; end"],
}

LINES = {
    "txt2img x --sched\tdpm++3\t": ["txt2img", "x", "--scheduler", "dpm++3m"],
    "txt2img x --scheduler DPM++\\ 2M\\ Kar\t": ["txt2img", "x", "--scheduler", "DPM++ 2M Karras"],
    'txt2img x --scheduler "DPM++ 2M Kar\t': ["txt2img", "x", "--scheduler", "DPM++ 2M Karras"],
    "txt2img x --scheduler=DPM++\\ 2M\\ Kar\t": ["txt2img", "x", "--scheduler=DPM++ 2M Karras"],
    "txt2img 'a \"b' -m snow\t": ["txt2img", 'a "b', "-m", "snow:1 x"],
    "txt2img x -m snow:\t": ["txt2img", "x", "-m", "snow:1 x"],
    "txt2img x --model=snow:\t": ["txt2img", "x", "--model=snow:1 x"],
    "txt2img x --lora film\t": ["txt2img", "x", "--lora", "film look"],
    "txt2img x --style noir\t": ["txt2img", "x", "--style", "noir: 'a' & $b"],
    "txt2img x --preset por\t": ["txt2img", "x", "--preset", "portrait"],
    "replay in.png --set guidance_s\t5": ["replay", "in.png", "--set", "guidance_scale=5"],
    "txt2img x --sweep scheduler=euler,unip\t": ["txt2img", "x", "--sweep", "scheduler=euler,unipc"],
    "img2img my\t": ["img2img", "my file.png"],
    "txt2img x --output=my\t": ["txt2img", "x", "--output=my file.png"],
    "txt2img x -m modelf\t": ["txt2img", "x", "-m", "modelfolder"],
    "config set offlo\tseq\t": ["config", "set", "offload", "sequential"],
    "models sh\tmine\t": ["models", "show", "mine-too"],
    "txt2img x --steps m\t": ["txt2img", "x", "--steps", "m"],
}
"""Typed keys after `artgen`, and the arguments of the completed command."""


class Terminal:
    """Run a shell in a pseudo-terminal."""

    def __init__(self, arguments: list[str]) -> None:
        self._process, self._descriptor = pty.fork()
        if self._process == 0:
            os.execvp(arguments[0], arguments)
        self.output = ""

    def type(self, text: str, end: str) -> str:
        """Type a text and wait until the output contains `end`. Return the new output."""
        start = len(self.output)
        os.write(self._descriptor, text.encode())
        deadline = time.monotonic() + SECONDS
        while end not in self.output[start:]:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.output[start:]
            data = os.read(self._descriptor, 1 << 16)
            if b"\x1b[c" in data or b"\x1b[0c" in data:  # the shell asks for the kind of the terminal
                os.write(self._descriptor, b"\x1b[?62c")
            if b"\x1b[6n" in data:  # the shell asks for the position of the cursor
                os.write(self._descriptor, b"\x1b[1;1R")
            self.output += data.decode("utf-8", "replace")
        return self.output[start:]

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.close(self._descriptor)
        os.waitpid(self._process, 0)


@pytest.fixture
def _user_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "artgen"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PS1", "$ ")
    for file in ("m/loras/film look.safetensors", "m/checkpoints/snow:1 x.safetensors", "my file.png", "modelfolder/a"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    Path("styles.csv").write_text("name,prompt\nnoir: 'a' & $b,x\n")
    run("config", "set", "style_folder", "styles.csv")
    run("config", "set", "model_folders", "m")
    run("preset", "save", "portrait", "--steps", "3")
    run("models", "alias", "mine-too", "owner/name")


@pytest.fixture(params=SCRIPTS)
def terminal(request: pytest.FixtureRequest, _user_files: None) -> Iterator[Terminal]:
    """Return a new shell of a user who ran `artgen --install-completion`."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    (Path.home() / ".bashrc").write_text("PS1='$ '\n")
    (Path.home() / ".zshrc").write_text("PROMPT='$ '\nZLE_REMOVE_SUFFIX_CHARS=''\nunset zle_bracketed_paste\n")
    run("--install-completion", request.param)
    found = Terminal(START[request.param])
    found.type("echo READ''Y\r", "READY")
    yield found
    found.close()


def test_shells_complete_lines(terminal: Terminal) -> None:
    failed = {}
    for keys, expected in LINES.items():
        output = terminal.type(f"artgen {keys}\r", "<end>")
        printed = re.findall(r"<([^<>]*)>(?=[<])", re.split(r"[\r\n]", output.partition("<end>")[0])[-1] + "<")
        if [each.rstrip("/") for each in printed] != expected:
            failed[keys] = printed
    assert not failed, terminal.output
    assert "Traceback" not in terminal.output
