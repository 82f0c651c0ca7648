"""Test a worker in a process of its own: workers that cannot be used, idle exit, and clients that end early."""

import contextlib
import copy
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import save_inputs
from worker_process import WorkerProcess

REFUSED = ("txt2img", "x", "--steps", "0", "--verbose")
DENOISE = ("denoise", "in.png", "--method", "tv", "-o", "x.png", "--verbose")
LONG = ("txt2img", "x", "-m", "tiny", "--steps", "900", "--seed", "1", "--count", "2", "--batch-size", "1")


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    started = WorkerProcess()
    yield started
    started.close()


def artgen(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `artgen ARGUMENTS` with these environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "artgen", *arguments], env=environment, capture_output=True, text=True, timeout=300,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


@contextlib.contextmanager
def fake_worker(answer: Callable[[socket.socket], None]) -> Iterator[dict[str, str]]:
    """Listen on the socket of a worker, and answer each client. Return the environment of the clients."""
    folder = Path(tempfile.mkdtemp(prefix="artgen-fake-"))
    (folder / "artgen").mkdir(mode=0o700)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listener.accept()
                with connected:
                    answer(connected)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "artgen/worker.sock"))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
        listener.shutdown(socket.SHUT_RDWR)
    shutil.rmtree(folder)


def hello(identity: Any) -> bytes:
    return json.dumps({"type": "hello", "identity": identity}).encode() + b"\n"


def identity_of(worker: WorkerProcess) -> dict[str, Any]:
    connection = worker.connect()
    assert connection is not None
    message = connection.receive()
    connection.close()
    assert message is not None
    identity: dict[str, Any] = message["identity"]
    return identity


def test_a_different_worker_is_not_used(worker: WorkerProcess) -> None:
    """Change each value of the identity in turn. With equal identities, the worker receives the command."""
    identity = identity_of(worker)
    received: list[bytes] = []
    messages: list[bytes] = []

    def answer(connected: socket.socket) -> None:
        connected.sendall(messages[0])
        received.append(connected.recv(1 << 16))

    with fake_worker(answer) as environment:
        expected = artgen({**environment, "ARTGEN_WORKER": "off"}, *REFUSED)
        for name in (None, *identity):
            changed = copy.deepcopy(identity)
            if name:
                changed[name] = "0.0.1"
            messages[:] = [hello(changed)]
            result = artgen(environment, *REFUSED)
            assert result.returncode == expected.returncode == 2
            assert received.pop().startswith(b"" if name else b'{"type": "run"')
            if name:
                note, _, rest = result.stderr.partition("\n")
                assert note.startswith("Not using the worker: ")
                assert rest == expected.stderr
                assert (name in note) or "identity" in note or "limit" in note or "variable" in note
        messages[:] = [hello(identity | {"version of artgen": "0.0.1"})]
        without = [part for part in REFUSED if part != "--verbose"]
        assert "worker" not in artgen(environment, *without).stderr


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"hello\n", b"[]\n", b'{"type": "hello"}\n', hello(None), hello([]), hello({}), b"{" * 100_000 + b"\n",
     b'{"type": "finished", "exit_code": 0}\n', b"\xff\xfe\n", b'{"type": "hello", "identity": {"user": NaN}}\n'],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
def test_invalid_answers_are_not_trusted(data: bytes) -> None:
    with fake_worker(lambda connected: connected.sendall(data)) as environment:
        result = artgen(environment, *REFUSED)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.startswith("Not using the worker: ")
    assert result.stderr.endswith(".\nerror: steps must be 1 to 1,000, not 0.\n  --steps 1\n")
    assert "Traceback" not in result.stderr


def test_worker_exits_when_it_is_idle() -> None:
    """Check that the process ends, and that it leaves only files in its own folder."""
    temporary = Path("temporary")
    temporary.mkdir()
    save_inputs()
    worker = WorkerProcess({**os.environ, "TMPDIR": str(temporary.resolve())}, "2", "3s")
    result = artgen(worker.environment, *DENOISE)
    assert (result.returncode, result.stdout) == (0, "x.png\n"), result.stderr
    assert worker.num_commands() == 1
    assert worker.process.wait(timeout=120) == 0
    assert not worker.socket.exists()
    assert worker.log == ""
    assert {path.name for path in temporary.iterdir()} <= {f"torchinductor_{getpass.getuser()}"}
    assert artgen(worker.environment, *DENOISE, "--overwrite").returncode == 0
    worker.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_command_of_a_killed_client_stops(worker: WorkerProcess, number: signal.Signals) -> None:
    """Check that the worker abandons the command at the next step, and runs the next one."""
    client = subprocess.Popen(
        [sys.executable, "-m", "artgen", *LONG], env=worker.environment, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert client.stderr is not None
    assert any("Using tiny" in line for line in client.stderr)
    time.sleep(1)
    client.send_signal(number)
    assert client.wait(timeout=60) == -number
    assert artgen(worker.environment, *REFUSED).returncode == 2
    assert worker.num_commands() == 2
    assert not list(Path().glob("outputs/*"))
    assert worker.log == ""
