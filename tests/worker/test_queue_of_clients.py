"""Test clients that wait for a worker."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import artgen
from artgen.worker_process.client import socket_file

TIMEOUT_SECONDS = 100.0

REFUSED = ("txt2img", "x", "--steps", "0")

Process = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="artgen-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    artgen.start_worker()
    yield
    artgen.stop_worker()
    shutil.rmtree(folder)


def start(*arguments: str, **kwargs: object) -> Process:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs}
    return subprocess.Popen([sys.executable, "-m", "artgen", *arguments], **options)  # type: ignore[call-overload]


def wait_until(is_reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Busy:
    """Keep the worker busy: a client that does not write what its command prints."""

    def __init__(self) -> None:
        connection = socket_file.connect()
        assert connection is not None
        self._connection = connection
        assert (connection.receive() or {})["type"] == "hello"
        null, folder = os.open(os.devnull, os.O_RDWR), os.open("/", os.O_RDONLY)
        message = {"arguments": ["--version"], "environment": dict(os.environ), "umask": 0o022, "entropy": 0}
        connection.send("run", (null, null, null, folder), **message)
        os.close(null)
        os.close(folder)
        assert [(connection.receive() or {})["type"] for _ in range(2)] == ["started", "stdout"]

    def end(self) -> None:
        """Let the command end."""
        self._connection.send("written", errno=0)
        while (self._connection.receive() or {"type": "finished"})["type"] != "finished":
            self._connection.send("written", errno=0)
        self._connection.close()


@pytest.fixture
def busy(_worker: None) -> Busy:
    return Busy()


def end(process: Process) -> tuple[int, str]:
    """Wait for a command. Return its exit code and stderr."""
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, stderr


def start_waiting(count: int, *options: str, **kwargs: object) -> list[Process]:
    """Start commands one after another."""
    before = artgen.worker_status().waiting
    processes = []
    for number in range(count):
        processes.append(start(*REFUSED, *options, **kwargs))
        wait_until(lambda number=number: artgen.worker_status().waiting == before + number + 1)
    return processes


def test_waiting_clients_print_their_position_and_run_in_order(busy: Busy) -> None:
    processes = start_waiting(3)
    assert artgen.worker_status().command == "artgen --version"
    busy.end()
    outputs = [end(process) for process in processes]
    lines = [f"Waiting for the worker: position {number}." for number in (3, 2, 1)]
    for (code, text), start in zip(outputs, (2, 1, 0), strict=True):
        printed = text.splitlines()
        assert code == 2
        assert [line for line in printed if line in lines] == lines[start:]
        # The worker can print its error before the client prints the last position.
        assert [line for line in printed if line not in lines] == [
            "error: steps must be 1 to 1,000, not 0.", "  --steps 1",
        ]  # fmt: skip


def test_quiet_clients_print_no_position(busy: Busy) -> None:
    (process,) = start_waiting(1, "--quiet")
    busy.end()
    assert end(process) == (2, "error: steps must be 1 to 1,000, not 0.\n  --steps 1\n")


def test_a_terminal_shows_only_the_last_position(busy: Busy) -> None:
    (first,) = start_waiting(1)
    leader, follower = pty.openpty()
    (second,) = start_waiting(1, stderr=follower)
    os.close(follower)
    busy.end()
    end(first)
    assert second.wait(TIMEOUT_SECONDS) == 2
    text = os.read(leader, 10_000).decode()
    os.close(leader)
    erase = "\r\x1b[2K"
    # The worker can print its error before the client erases the last position.
    assert text.startswith(f"Waiting for the worker: position 2.{erase}Waiting for the worker: position 1.")
    assert text.count(erase) == 2
    assert "steps must be 1 to 1,000, not 0." in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_ends_leaves_the_queue(number: int, busy: Busy) -> None:
    first, second = start_waiting(2)
    first.send_signal(number)
    _, stderr = first.communicate(timeout=TIMEOUT_SECONDS)
    if number == signal.SIGINT:
        assert (first.returncode, stderr.splitlines()[1:]) == (130, ["error: Interrupted."])
    else:
        assert first.returncode == -number
    wait_until(lambda: artgen.worker_status().waiting == 1)
    busy.end()
    assert end(second)[0] == 2
    assert artgen.worker_status().num_commands == 2


def test_waiting_clients_continue_when_the_worker_is_stopped_or_killed() -> None:
    busy = Busy()
    for stop in (artgen.stop_worker, lambda: os.kill(artgen.worker_status().pid or 0, signal.SIGKILL)):
        processes = start_waiting(2, "--verbose")
        stop()
        for process in processes:
            code, stderr = end(process)
            assert code == 2
            assert stderr.endswith(
                "Not using the worker: it ended.\nerror: steps must be 1 to 1,000, not 0.\n  --steps 1\n"
            )
        artgen.start_worker()
        busy = Busy()
    busy.end()


def test_a_session_with_many_commands_does_not_block_others(busy: Busy) -> None:
    many = start_waiting(4)
    (other,) = start_waiting(1, start_new_session=True)
    busy.end()
    assert end(other)[1].startswith("Waiting for the worker: position 2.\n")
    assert [end(process)[0] for process in many] == [2] * 4


def test_commands_that_load_no_model_do_not_wait(busy: Busy) -> None:
    assert end(start("--version"))[0] == 0
    assert end(start("worker", "status"))[0] == 0
    assert end(start("txt2img", "--help"))[0] == 0
    busy.end()
