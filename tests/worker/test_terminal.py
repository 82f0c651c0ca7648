"""Test commands in the worker on a terminal: Ctrl-C, and the output while modules load."""

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pseudo_terminal import Terminal
from worker_process import WorkerProcess

TXT2IMG = ("txt2img", "a red fox", "-m", "tiny", "--seed", "7")
MODULE_THAT_BLOCKS = "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""A native call that does not end: no handler of Python runs."""


@contextlib.contextmanager
def running_worker(**environment: str) -> Iterator[WorkerProcess]:
    worker = WorkerProcess({**os.environ, **environment})
    try:
        yield worker
        assert worker.log == ""
    finally:
        worker.close()


def in_worker(worker: WorkerProcess, *arguments: str, size: tuple[int, int] = (24, 80), **environment: str) -> Terminal:
    return Terminal(*arguments, size=size, **{**worker.environment, **environment})


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_stop_the_command_and_not_the_worker(times: int) -> None:
    with running_worker() as worker:
        first = in_worker(worker, *TXT2IMG, "--steps", "2", "-o", "first.png")
        assert first.wait() == 0, first.output
        terminal = in_worker(worker, *TXT2IMG, "--steps", "900", "-o", "interrupted.png")
        terminal.wait_for(b"generating")
        for _ in range(times):
            terminal.press(b"\x03")
            terminal.wait_for(b"Stopping after this step. Press Ctrl-C again to exit now.")
        assert terminal.wait() == 130
        lines = terminal.lines()
        assert (lines[-1] == "error: Interrupted.") == (times == 1)
        assert "Traceback" not in "".join(lines)
        assert "\x1b[?25h" in terminal.output.decode().rpartition("\x1b[?25l")[2]
        last = in_worker(worker, *TXT2IMG, "--steps", "2", "-o", "last.png")
        assert last.wait() == 0, last.output
        assert worker.num_commands() == 3
    assert Path("first.png").read_bytes() == Path("last.png").read_bytes()
    assert {path.name for path in Path().iterdir()} == {"first.png", "last.png"}


@pytest.fixture
def blocked() -> Mapping[str, str]:
    """Return the environment of a process in which the import of torch does not end."""
    folder = Path("modules/torch")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(MODULE_THAT_BLOCKS)
    return {"PYTHONPATH": os.pathsep.join([str(folder.parent.absolute()), *filter(None, sys.path)])}


def test_a_new_worker_shows_loading_and_ctrl_c_ends_the_command_at_once(blocked: Mapping[str, str]) -> None:
    with running_worker(**blocked) as worker:
        terminal = in_worker(worker, *TXT2IMG, "-o", "fox.png")
        terminal.wait_for(b"\r\x1b[2KLoading torch")
        terminal.press(b"\x03")
        start = time.monotonic()
        assert terminal.wait() == 130
        assert time.monotonic() - start < 60  # the import takes longer
        assert terminal.lines()[-1] == "error: Interrupted."
        assert {path.name for path in Path().iterdir()} == {"modules"}
        assert worker.process.poll() is None


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_new_worker_prints_loading_in_one_plain_line(blocked: Mapping[str, str], environment: dict[str, str]) -> None:
    with running_worker(**blocked) as worker:
        terminal = in_worker(worker, *TXT2IMG, **environment)
        terminal.wait_for(b"diffusers.\r\n")
        terminal.press(b"\x03")
        assert terminal.wait() == 130
        assert terminal.lines() == ["Loading torch, transformers and diffusers.", "^Cerror: Interrupted."]


@pytest.mark.slow
def test_the_output_on_a_terminal_is_the_same() -> None:
    commands = [
        ("txt2img", "a (red:1.2) fox", "--steps", "0"),
        ("img2img", "no.png", "x"),
        ("a fox", "--steps", "many"),
    ]
    environments = [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "30"}, {"FORCE_COLOR": "1"}]
    with running_worker() as worker:
        for environment, arguments in itertools.product(environments, commands):
            ordinary = {**worker.environment, "ARTGEN_WORKER": "off", **environment}
            expected = Terminal(*arguments, size=(24, 60), **ordinary)
            terminal = in_worker(worker, *arguments, size=(24, 60), **environment)
            assert (terminal.wait(), shown(terminal)) == (expected.wait(), shown(expected))
        assert worker.num_commands() == len(environments) * len(commands)


def shown(terminal: Terminal) -> bytes:
    """Return the output without the line that shows what is loading."""
    return re.sub(rb"\r\x1b\[2K((Starting|Loading \w+)( \([^)]*\))?)?", b"", terminal.output)
