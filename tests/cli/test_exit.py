"""Test the exit of artgen: Ctrl-C, closed pipes, full disks and bugs."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_scripts
import pytest
from command_line import FAST, run
from pseudo_terminal import Terminal, artgen

from artgen.cli import interrupts
from artgen.system import process

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="/dev/full does not exist")


def test_interrupt_stops_at_the_next_step(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT to this process during the first step of the second image."""
    from diffusers import UNet2DConditionModel

    calls = []

    def forward(original: Callable[..., Any], self: Any, *arguments: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # two steps per image
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **kwargs)

    plain_scripts.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)
    result = run("txt2img", "x", "-m", sd1, *FAST, "--count", "3", "--batch-size", "1", code=130)
    assert len(calls) == 3
    assert "Interrupted" in result.stderr
    assert [path.name for path in Path("outputs").iterdir()] == ["00001-7-x.png"]


@pytest.mark.slow
def test_interrupt_discards_the_image_and_exits_with_130(sd1: str) -> None:
    process = artgen("txt2img", "x", "-m", sd1, "--steps", "900", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stderr is not None
    assert b"Loading" in process.stderr.readline()
    assert b"on the CPU" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert b"Interrupted" in message
    assert b"Traceback" not in message
    assert not list(Path().glob("outputs/*"))


@pytest.mark.slow
def test_second_interrupt_exits_immediately(sd1: str) -> None:
    terminal = Terminal("txt2img", "x", "-m", sd1, "--steps", "900")
    terminal.wait_for(b"generating")  # a step is complete
    terminal.press(b"\x03")
    terminal.wait_for(b"Stopping")
    terminal.press(b"\x03")
    assert terminal.wait() == 130


def test_interrupt_while_the_watcher_exits_prints_no_second_message(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Check that the handler of the main thread is silent while the watcher holds the lock and ends the process."""
    lock = threading.Lock()
    lock.acquire()
    monkeypatch.setattr(interrupts, "_exit_lock", lock)
    monkeypatch.setattr(process, "owns_process", lambda: True)
    with interrupts.DeferredSigint() as sigint:
        sigint.set_exit_at_once(True)
        signal.raise_signal(signal.SIGINT)
        assert not sigint.interrupted
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the size of pipes is fixed")
@pytest.mark.parametrize("module", [b"typer.", b"artgen.cli.console", b"artgen.cli.dispatch"])
def test_interrupt_during_imports_prints_one_line(module: bytes) -> None:
    """Python lists its imports on stderr. The small pipe blocks the process at the import of `module`."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-X", "importtime", "-m", "artgen", "txt2img", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as listing:
        message = b""
        while module not in message:
            chunk = listing.read(256)
            assert chunk, message
            message += chunk
        process.send_signal(signal.SIGINT)
        message += listing.read()
    assert process.wait(timeout=300) == 130
    assert b"error: Interrupted.\n" in message
    assert b"Traceback" not in message


@pytest.mark.slow
def test_ignored_interrupts_remain_ignored(sd1: str) -> None:
    process = artgen(
        *("txt2img", "x", "-m", sd1, "--steps", "40", "--seed", "7", "-o", "x.png"),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stderr is not None
    process.stderr.readline()
    assert b"on the CPU" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.fullmatch(rb"Seed 7, [\d.]+ s\.\n", message)
    assert Path("x.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_pipe_closed_during_generation_exits_without_a_message(sd1: str, closed: str) -> None:
    arguments = ("txt2img", "x", "-m", sd1, "--steps", "2", "--seed", "7", "--count", "500")
    process = artgen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"outputs/00001-7-x.png\n"
    (process.stdout if closed == "stdout" else process.stderr).close()
    message = b"" if process.stderr.closed else process.stderr.read()
    process.wait(timeout=60)
    process.stdout.close()
    assert process.returncode == 141
    assert b"rror" not in message
    assert len(list(Path("outputs").iterdir())) < 500


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [("schedulers",), ("schedulers", "--json"), ("--version",), ("models", "list"), ("--help",), ("models",)],
)
def test_stdout_on_a_full_disk_prints_one_error(arguments: tuple[str, ...], unbuffered: str) -> None:
    with FULL.open("w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        process = artgen(*arguments, stdout=full, stderr=subprocess.PIPE, env=environment)
    _, message = process.communicate(timeout=300)
    assert process.returncode == 74
    last, hint = message.decode().splitlines()[-2:]
    assert last == "error: Cannot write to standard output: No space left on device."
    assert hint.startswith("  ")
    assert b"Traceback" not in message
    assert b"ignored" not in message


@needs_full
def test_stderr_on_a_full_disk_does_not_change_the_exit_code() -> None:
    with FULL.open("w") as full:
        assert artgen("info", "nope.png", stderr=full).wait(timeout=300) == 3


def test_closed_stdout_is_reported() -> None:
    process = artgen("schedulers", stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    _, message = process.communicate(timeout=300)
    assert process.returncode == 74
    assert b"Cannot write to standard output" in message


def test_run_with_some_failed_images_exits_with_7(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of the second image returns NaN. The other two images are written."""
    from diffusers import UNet2DConditionModel

    calls = []

    def forward(original: Callable[..., Any], self: Any, *arguments: Any, **kwargs: Any) -> Any:
        calls.append(1)
        result = original(self, *arguments, **kwargs)
        if len(calls) == 3:  # two steps per image
            result[0][:] = float("nan")
        return result

    plain_scripts.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)
    result = run("txt2img", "x", "-m", sd1, *FAST, "--count", "3", "--batch-size", "1", code=7)
    assert [line.split("-")[1] for line in result.stdout.splitlines()] == ["7", "9"]
    assert all(Path(line).is_file() for line in result.stdout.splitlines())
    assert "Seed 8: " in result.stderr
    assert "1 of 3 images failed" in result.stderr


def test_bug_prints_a_traceback_and_exits_with_1() -> None:
    program = """
import sys
import artgen.metadata
def read(path):
    raise RuntimeError("a bug")
artgen.metadata.read_metadata = read
sys.argv = ["artgen", "info", "x.png"]
from artgen.__main__ import run
run()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 1
    assert "Traceback (most recent call last)" in ran.stderr
    assert ran.stderr.rstrip().endswith("RuntimeError: a bug")
