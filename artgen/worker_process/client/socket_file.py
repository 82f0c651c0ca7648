"""Find the socket of the worker of this user, and connect to it."""

import os
import stat
import sys
import time

TYPE_CHECKING = False  # the import of `typing` takes longer than this module
if TYPE_CHECKING:
    import socket

    from artgen.worker_process.protocol import Connection

HELLO_SECONDS = 10.0
"""Longest time that a worker may take to answer. While the worker imports torch, it answers after 2 seconds."""

_RETRY_SECONDS = 0.02
_MAX_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""Longest path of a Unix socket: the size of `sun_path`, minus its last zero."""


class WorkerUnavailable(Exception):
    """Report why a command cannot use the worker. The message continues "Not using the worker: "."""


class UnusableSocket(WorkerUnavailable):
    """Report that the socket or its folder cannot be created or used."""


class UnsafeFolder(WorkerUnavailable):
    """Report that other users have access to the folder of the socket."""


def runtime_folder() -> str:
    """Return the folder of the socket, which only its user can open."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    if folder.startswith("/") and _is_own_folder(folder):
        return f"{folder.rstrip('/')}/artgen"
    temporary = os.environ.get("TMPDIR", "")
    return f"{temporary if temporary.startswith('/') else '/tmp'}/artgen-{os.geteuid()}"


def socket_path() -> str:
    """Return the path of the socket of the worker. It exists while a worker runs."""
    return f"{runtime_folder()}/worker.sock"


def exists() -> bool:
    """Return whether the socket exists. The worker may have been killed."""
    return os.path.lexists(socket_path())


def check_path() -> None:
    """Check that the path of the socket is short enough.

    Raises:
        UnusableSocket: the path is too long.
    """
    length = len(os.fsencode(socket_path()))
    if length > _MAX_PATH_BYTES:
        raise UnusableSocket(
            f"the path of its socket has {length} bytes, and at most {_MAX_PATH_BYTES} are possible: '{socket_path()}'"
        )


def check_folder() -> None:
    """Check that the folder of the socket belongs to this user, and that no other user has access to it.

    Raises:
        WorkerUnavailable: the folder cannot be used: `UnusableSocket` or `UnsafeFolder`.
    """
    folder = runtime_folder()
    try:
        status = os.lstat(folder)
    except OSError as error:
        raise UnusableSocket(f"the folder '{folder}' cannot be read: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeFolder(f"'{folder}' is not a folder")
    if status.st_uid != os.geteuid():
        raise UnsafeFolder(f"the folder '{folder}' belongs to another user")
    if status.st_mode & 0o077:
        raise UnsafeFolder(f"other users have access to the folder '{folder}'")


def connect() -> "Connection | None":
    """Return a connection to the worker of this user; None if none runs.

    Raises:
        WorkerUnavailable: the socket cannot be used, or the worker does not accept the connection in time.
    """
    if not exists():
        return None
    check_path()
    check_folder()
    import socket

    from artgen.worker_process.protocol import Connection

    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(connected)
        if peer_ids(connected)[1] != os.geteuid():
            raise UnsafeFolder("it belongs to another user")
    except (FileNotFoundError, ConnectionRefusedError):  # the worker ended, or was killed
        connected.close()
        return None
    except OSError as error:
        connected.close()
        raise UnusableSocket(f"its socket cannot be used: {error.strerror or error}") from error
    except WorkerUnavailable:
        connected.close()
        raise
    return Connection(connected)


def _connect(connected: "socket.socket") -> None:
    """Connect, and wait while too many clients wait for the worker to accept them."""
    connected.settimeout(HELLO_SECONDS)
    deadline = time.monotonic() + HELLO_SECONDS
    while True:
        try:
            connected.connect(socket_path())
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def peer_ids(connected: "socket.socket") -> tuple[int, int]:
    """Return the process ID and the user ID of the other side; the process ID is 0 if it is unknown.

    Raises:
        OSError: the user is unknown.
    """
    import socket
    import struct

    if hasattr(socket, "SO_PEERCRED"):
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        process_id, user_id, _ = struct.unpack("iII", credentials)
        return process_id, user_id
    # macOS and BSD: LOCAL_PEERCRED (1) of SOL_LOCAL (0) returns a `struct xucred` of 76 bytes.
    version, user_id = struct.unpack_from("II", connected.getsockopt(0, 1, 76))
    if version != 0:
        raise OSError("the user of the other side is unknown")
    return 0, user_id


def _is_own_folder(folder: str) -> bool:
    try:
        status = os.stat(folder)  # noqa: PTH116 - the import of pathlib takes longer
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
