"""Start a worker for tests in a runtime folder of its own."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from artgen.worker_process.protocol import Connection

START_SECONDS = 120.0
"""Maximum time until a worker accepts connections. It takes 2 CPU seconds."""


class WorkerProcess:
    """Run a worker.

    Attributes:
        environment: environment variables of the worker. A client with the same variables uses the worker.
        process: the process of the worker.
        log: text that the worker wrote to its own stdout and stderr.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *options: str) -> None:
        """Start the worker and wait until it accepts connections.

        Args:
            environment: environment variables, without the runtime folder; `os.environ` if omitted.
            options: options of the worker.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="artgen-worker-"))  # a short path, as required for sockets
        self.environment = {
            **(os.environ if environment is None else environment),
            "XDG_RUNTIME_DIR": str(self._folder),
        }
        self.log_path = self._folder / "log.txt"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "artgen.worker_process.server", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while (connection := self.connect()) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        connection.close()

    @property
    def log(self) -> str:
        """Return the output of the worker itself, which is empty if no error occurred."""
        return self.log_path.read_text(errors="replace")

    @property
    def socket(self) -> Path:
        """Return the path of the socket."""
        return self._folder / "artgen" / "worker.sock"

    def connect(self) -> Connection | None:
        """Return a new connection, None if the worker does not accept one."""
        from artgen.worker_process.client import socket_file

        with _variable("XDG_RUNTIME_DIR", str(self._folder)):
            return socket_file.connect()

    def status(self) -> dict[str, object]:
        """Return the reply of the worker to `status`."""
        connection = self.connect()
        assert connection is not None, self.log
        with contextlib.closing(connection):
            assert (connection.receive() or {})["type"] == "hello"
            connection.send("status")
            reply = connection.receive()
        assert reply is not None
        assert reply["type"] == "status"
        return reply

    def num_commands(self) -> int:
        """Return the number of commands that the worker has run."""
        count = self.status()["num_commands"]
        assert isinstance(count, int)
        return count

    def close(self) -> None:
        """Kill the worker and remove its runtime folder."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    previous = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if previous is None:
            del os.environ[name]
        else:
            os.environ[name] = previous
