"""Accept connections in threads, and run the commands in the main thread."""

import contextlib
import os
import shlex
import socket
import threading
import time
from typing import Any

from artgen._version import __version__
from artgen.engine.loading import loaded_models
from artgen.spec.worker_limits import WorkerLimits, worker_limits
from artgen.system import file_locks, process, temporary
from artgen.system.hardware import resident_bytes
from artgen.worker_process.client import socket_file
from artgen.worker_process.client.socket_file import WorkerUnavailable
from artgen.worker_process.client.start import LOCK_FILE, create_folder, open_file
from artgen.worker_process.protocol import Connection, ProtocolError
from artgen.worker_process.server.client_state import discard_output
from artgen.worker_process.server.commands import Command, install_signal_handlers
from artgen.worker_process.server.waiting import MAX_WAITING, WaitingCommands

_LOCK_SECONDS = 20.0
"""Longest time that a worker which ends may hold the lock."""

_MAX_CONNECTIONS = MAX_WAITING + 30
"""Maximum number of clients. Further clients wait until the worker accepts their connection."""

_RETRY_SECONDS = 0.05
_MAX_COMMAND_CHARS = 1000


class Server:
    """Serve the clients of one worker."""

    def __init__(self, identity: dict[str, object], settings: WorkerLimits) -> None:
        """Start without commands."""
        self._identity = identity
        self._settings = settings
        self._waiting = WaitingCommands()
        self._since = time.time()
        self._places = threading.Semaphore(_MAX_CONNECTIONS)

    def accept(self, listener: socket.socket) -> None:
        """Start a thread for each connection of this user."""
        while True:
            self._places.acquire()
            try:
                connected, _ = listener.accept()
            except OSError:  # for example too many open files
                self._places.release()
                time.sleep(_RETRY_SECONDS)
                continue
            threading.Thread(target=self._serve_client, args=(Connection(connected),), daemon=True).start()

    def _serve_client(self, connection: Connection) -> None:
        command: Command | None = None
        try:
            if socket_file.peer_ids(connection.socket)[1] != os.geteuid():
                return
            connection.send("hello", identity=self._identity)
            while (message := connection.receive()) is not None:
                match message["type"]:
                    case "run" if command is None:
                        command = self._add(connection, message)
                        if command is None:
                            return
                    case "written" if command is not None:
                        command.replies.put(message)
                    case "interrupt" if command is not None:
                        command.interrupt()
                    case "status":
                        connection.send("status", **self._status())
                    case "stop":
                        stop()
                    case kind:
                        raise ProtocolError(f"the message {kind!r} is not possible")
        except (OSError, ProtocolError):
            pass
        finally:
            self._places.release()
            if command is None:
                connection.close()
            else:
                self._waiting.remove(command)
                command.disconnect()

    def _add(self, connection: Connection, message: dict[str, Any]) -> Command | None:
        """Return the command of a message, which then waits; None if the worker does not accept it."""
        command = Command.from_message(connection, message)
        session = message.get("session")
        if self._waiting.add(command, session if type(session) is int else 0):
            return command
        command.close()
        return None

    def _status(self) -> dict[str, Any]:
        running = self._waiting.running
        return {
            "pid": os.getpid(),
            "version": __version__,
            "since": self._since,
            "idle_seconds": self._waiting.idle_seconds(),
            "command": shlex.join(["artgen", *running.arguments])[:_MAX_COMMAND_CHARS] if running else None,
            "waiting": len(self._waiting),
            "num_commands": self._waiting.num_finished,
            "models": [
                {"name": model.name, "device": model.device, "dtype": model.dtype, "nbytes": model.nbytes}
                for model in loaded_models.loaded_models()
            ],
            "max_loaded": self._settings.max_loaded,
            "keep_alive_seconds": self._settings.keep_alive_seconds,
            "memory_bytes": resident_bytes(),
        }

    def run_commands(self) -> None:
        """Run commands until none arrives within the keep-alive time, or until a command leaves a damaged process."""
        loaded_models.keep_loaded(self._settings.max_loaded)
        while (command := self._waiting.next(self._settings.keep_alive_seconds)) is not None:
            with contextlib.suppress(OSError):
                command.connection.send("started")
            exit_code = command.run()
            self._waiting.finish()
            command.end(exit_code)
            if not command.is_restored:
                return


def serve(identity: dict[str, object], max_loaded: int | None = None, keep_alive: str | None = None) -> None:
    """Run the worker until it is stopped or idle.

    Args:
        identity: identity of this process when it started.
        max_loaded: maximum number of loaded models; None for the setting.
        keep_alive: idle time after which the worker ends, such as `10m`; None for the setting.

    Raises:
        WorkerUnavailable: the folder of the socket cannot be used.
        UsageError: a setting of the environment is invalid.
        InputFileError: a configuration file is invalid.
    """
    settings = worker_limits(max_loaded, keep_alive)
    os.chdir("/")
    process.configure_process()
    socket_file.check_path()
    create_folder()
    lock = open_file(LOCK_FILE, os.O_RDWR)
    if not _acquire(lock):
        return  # another worker listens
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    listener = _listen(socket_file.socket_path())
    discard_output()  # the descriptors are the log of the start
    server = Server(identity, settings)
    install_signal_handlers(stop)
    threading.Thread(target=server.accept, args=(listener,), daemon=True).start()
    server.run_commands()
    stop()


def stop() -> None:
    """End the worker at once. The clients of other commands run them in their own processes."""
    with contextlib.suppress(OSError):
        os.unlink(socket_file.socket_path())  # noqa: PTH108
    temporary.remove_own()
    os._exit(0)


def _acquire(lock: int) -> bool:
    """Lock the file of the worker. Return False if another worker listens.

    Raises:
        WorkerUnavailable: another worker holds the lock, and does not listen.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while not file_locks.try_lock(lock):
        connection = socket_file.connect()
        if connection is not None:
            connection.close()
            return False
        if time.monotonic() > deadline:
            raise WorkerUnavailable("another worker does not end")
        time.sleep(_RETRY_SECONDS)
    return True


def _listen(path: str) -> socket.socket:
    """Return a socket that listens, in place of the socket of a worker that was killed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    listener.bind(path)
    os.umask(umask)
    listener.listen(socket.SOMAXCONN)
    return listener
