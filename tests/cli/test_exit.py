"""How artgen leaves: Ctrl-C, closed pipes, full disks, bugs."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_scripts
import pytest
from command_line import FAST, run
from pseudo_terminal import artgen

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


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


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes here cannot be made small")
@pytest.mark.parametrize("module", [b"typer.", b"artgen.cli.console", b"artgen.cli.dispatch"])
def test_control_c_while_modules_load_leaves_in_one_line(module: bytes) -> None:
    """Python lists its imports on stderr and waits, the pipe being full, where the listing has come to `module`."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-X", "importtime", "-m", "artgen", "txt2img", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as listing:
        said = b""
        while module not in said:
            chunk = listing.read(256)
            assert chunk, said
            said += chunk
        process.send_signal(signal.SIGINT)
        said += listing.read()
    assert process.wait(timeout=300) == 130
    assert b"error: Interrupted.\n" in said
    assert b"Traceback" not in said


def test_who_ignores_control_c_goes_on_ignoring_it(sd1: str) -> None:
    process = artgen(
        *("txt2img", "x", "-m", sd1, "--steps", "40", "--seed", "7", "-o", "x.png"),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stderr is not None
    assert b"on the CPU" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"seed 7\n")
    assert Path("x.png").is_file()


@pytest.mark.parametrize("words", [("schedulers",), ("--version",), ("models", "list"), ("txt2img", "--help")])
def test_a_closed_pipe_is_no_bug(words: tuple[str, ...]) -> None:
    process = artgen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 74
    assert b"rror" not in said


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_pipe_closed_while_drawing_ends_it_quietly(sd1: str, closed: str) -> None:
    words = ("txt2img", "x", "-m", sd1, "--steps", "2", "--seed", "7", "--count", "500")
    process = artgen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"outputs/00001-7-x.png\n"
    (process.stdout if closed == "stdout" else process.stderr).close()
    said = b"" if process.stderr.closed else process.stderr.read()
    process.wait(timeout=60)
    process.stdout.close()
    assert process.returncode == 74
    assert b"rror" not in said
    assert len(list(Path("outputs").iterdir())) < 500


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [("schedulers",), ("schedulers", "--json"), ("--version",), ("models", "list"), ("--help",), ("models",)]
)
def test_a_full_disk_under_stdout_is_one_sentence(words: tuple[str, ...], unbuffered: str) -> None:
    with FULL.open("w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        process = artgen(*words, stdout=full, stderr=subprocess.PIPE, env=environment)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 74
    last, hint = said.decode().splitlines()[-2:]
    assert last == "error: Standard output cannot be written: No space left on device."
    assert hint.startswith("  ")
    assert b"Traceback" not in said
    assert b"ignored" not in said


@needs_full
def test_a_full_disk_under_stderr_leaves_the_exit_code() -> None:
    with FULL.open("w") as full:
        assert artgen("info", "nope.png", stderr=full).wait(timeout=300) == 3


def test_no_stdout_at_all_is_said() -> None:
    process = artgen("schedulers", stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 74
    assert b"no standard output" in said


def test_some_of_several_pictures_failed(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three real pictures becomes NaN at its first step; the others are drawn and written."""
    from diffusers import UNet2DConditionModel

    calls = []

    def forward(original: Callable[..., Any], self: Any, *arguments: Any, **more: Any) -> Any:
        calls.append(1)
        result = original(self, *arguments, **more)
        if len(calls) == 3:  # two steps a picture
            result[0][:] = float("nan")
        return result

    plain_scripts.around(monkeypatch, UNet2DConditionModel, "forward", forward)
    result = run("txt2img", "x", "-m", sd1, *FAST, "--count", "3", "--batch-size", "1", code=7)
    assert [line.split("-")[1] for line in result.stdout.splitlines()] == ["7", "9"]
    assert all(Path(line).is_file() for line in result.stdout.splitlines())
    assert "seed 8: " in result.stderr
    assert "1 of 3 pictures failed" in result.stderr


def test_a_bug_is_a_traceback_and_exit_code_one() -> None:
    program = """
import sys
import artgen.metadata
def read(path):
    raise RuntimeError("a bug")
artgen.metadata.read = read
sys.argv = ["artgen", "info", "x.png"]
from artgen.__main__ import run
run()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 1
    assert "Traceback (most recent call last)" in ran.stderr
    assert ran.stderr.rstrip().endswith("RuntimeError: a bug")
