"""Start the worker in a detached process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from artgen.system import file_locks, process
from artgen.worker_process.client import socket_file
from artgen.worker_process.client.socket_file import UnusableSocket, WorkerUnavailable

LOCK_FILE = "worker.lock"
"""File that a worker locks while it runs. It contains the process ID."""

START_SECONDS = 30.0
"""Longest time until a worker listens."""

_POLL_SECONDS = 0.02
_MAX_LOG_BYTES = 1 << 16

_started: list["subprocess.Popen[bytes]"] = []
"""Processes that this process started. They run on when this process ends."""


def start_worker(arguments: Sequence[str] = ()) -> bool:
    """Start the worker of this user, and wait until it listens. Return False if one runs already.

    Args:
        arguments: arguments of `artgen.worker_process.server`.

    Raises:
        WorkerUnavailable: the worker cannot be started.
    """
    socket_file.check_path()
    create_folder()
    with locked("start.lock"):
        connection = socket_file.connect()
        if connection is not None:
            connection.close()
            return False
        _start(arguments)
    return True


def create_folder() -> None:
    """Create the folder of the socket.

    Raises:
        WorkerUnavailable: the folder cannot be used.
    """
    folder = Path(socket_file.runtime_folder())
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            raise UnusableSocket(f"the folder '{folder}' cannot be created: {error.strerror}") from error
    socket_file.check_folder()


def open_file(name: str, flags: int) -> int:
    """Open a file in the folder of the socket, which only this user can read. Return its descriptor.

    Raises:
        WorkerUnavailable: the file cannot be opened.
    """
    path = f"{socket_file.runtime_folder()}/{name}"
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnusableSocket(f"'{path}' cannot be written: {error.strerror}") from error


@contextmanager
def locked(name: str, max_seconds: float = START_SECONDS) -> Iterator[None]:
    """Hold the lock of a file in the folder of the socket.

    Raises:
        WorkerUnavailable: another process holds the lock for `max_seconds`.
    """
    try:
        with file_locks.locked(open_file(name, os.O_RDWR), Path(name), max_seconds):
            yield
    except TimeoutError as error:
        raise WorkerUnavailable(f"another process holds the lock of '{name}'") from error
    except OSError as error:
        raise WorkerUnavailable(f"'{name}' cannot be locked: {error.strerror}") from error


def _start(arguments: Sequence[str]) -> None:
    log = open_file("worker.log", os.O_WRONLY | os.O_TRUNC)
    artgen_folder = Path(__file__).parents[2]
    python_options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    try:
        started = subprocess.Popen(
            [sys.executable, *python_options, "-m", "artgen.worker_process.server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=artgen_folder.parent,
            env=process.initial_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerUnavailable(f"its process cannot be started: {error.strerror}") from error
    finally:
        os.close(log)
    _started.append(started)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        connection = socket_file.connect()
        if connection is not None:
            connection.close()
            return
        if started.poll() is not None:
            raise WorkerUnavailable(f"it could not start: {_last_log_line()}")
    started.kill()
    raise WorkerUnavailable(f"it did not start within {START_SECONDS:g} seconds")


def _last_log_line() -> str:
    descriptor = open_file("worker.log", os.O_RDONLY)
    try:
        text = os.read(descriptor, _MAX_LOG_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    return (text.splitlines() or ["it wrote no message"])[-1].rstrip(".")
