"""Find the socket of the worker, and connect to it."""

import os
import socket
import tempfile
from pathlib import Path

from artgen.worker.protocol import Connection


def runtime_folder() -> Path:
    """Return the folder of the socket, which only its user can open."""
    if folder := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(folder) / "artgen"
    return Path(tempfile.gettempdir()) / f"artgen-{os.getuid()}"


def socket_path() -> Path:
    """Return the path of the socket of the worker. It exists while a worker runs."""
    return runtime_folder() / "worker.sock"


def connect() -> Connection | None:
    """Return a connection to the worker of this user, None if none runs."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.connect(str(socket_path()))
    except OSError:
        connected.close()
        return None
    return Connection(connected)
