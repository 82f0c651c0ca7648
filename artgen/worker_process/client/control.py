"""Ask the worker for its status, and stop it."""

import contextlib
import os
import signal
import time
from contextlib import closing
from typing import Any

from artgen.system import process
from artgen.system.file_locks import try_lock
from artgen.worker_process.client import socket_file
from artgen.worker_process.client.command import receive_hello
from artgen.worker_process.client.identity import difference, own_identity
from artgen.worker_process.client.socket_file import WorkerUnavailable
from artgen.worker_process.client.start import LOCK_FILE, open_file
from artgen.worker_process.protocol import ProtocolError

STOP_SECONDS = 5.0
"""Longest time that a worker takes to end. Afterwards it is killed."""

_POLL_SECONDS = 0.02
_MAX_PID_BYTES = 32


def worker_status() -> dict[str, Any] | None:
    """Return the reply of the worker to `status`; None if no worker runs.

    The key `difference` has the reason why commands with the environment of this process cannot use the worker; None if
    they can.

    Raises:
        WorkerUnavailable: the worker does not answer, or its socket cannot be used.
    """
    connection = socket_file.connect()
    if connection is None:
        return None
    with closing(connection):
        try:
            hello = receive_hello(connection)
        except WorkerUnavailable as error:
            if isinstance(error.__cause__, ConnectionResetError):  # the worker was killed a moment ago
                return None
            raise
        connection.socket.settimeout(socket_file.HELLO_SECONDS)
        try:
            connection.send("status")
            status = connection.receive()
        except (OSError, ProtocolError) as error:
            raise WorkerUnavailable("it does not answer") from error
    if status is None:
        return None
    return {**status, "difference": difference(own_identity(process.initial_environment()), hello.get("identity"))}


def stop_worker() -> bool:
    """End the worker, and wait until its process has ended. Return False if no worker runs.

    Raises:
        WorkerUnavailable: the folder of the socket cannot be used, or the process does not end.
    """
    if not os.path.lexists(socket_file.runtime_folder()):
        return False
    socket_file.check_folder()
    lock = open_file(LOCK_FILE, os.O_RDWR)
    try:
        if try_lock(lock):
            return False
        _request_stop()
        if not _wait_for(lock):
            # The process that holds the lock has this ID, so the ID cannot belong to another process.
            process_id = int(os.pread(lock, _MAX_PID_BYTES, 0) or b"0")
            if process_id > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            if not _wait_for(lock):
                raise WorkerUnavailable(f"process {process_id} does not end")
    finally:
        os.close(lock)
    return True


def _request_stop() -> None:
    with contextlib.suppress(WorkerUnavailable, OSError, ProtocolError):
        connection = socket_file.connect()
        if connection is not None:
            with closing(connection):
                connection.socket.settimeout(STOP_SECONDS)
                connection.send("stop")
                while connection.receive() is not None:
                    pass


def _wait_for(lock: int) -> bool:
    """Return whether a lock becomes free within `STOP_SECONDS`."""
    deadline = time.monotonic() + STOP_SECONDS
    while not try_lock(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
