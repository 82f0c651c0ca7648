"""Accept connections in threads, and run the commands in the main thread, in the order of their arrival."""

import contextlib
import os
import queue
import socket
import threading

from artgen.system import process, temporary
from artgen.worker.client import socket_file
from artgen.worker.client.identity import own_identity
from artgen.worker.protocol import Connection, ProtocolError
from artgen.worker.server.commands import Command, install_signal_handlers

KEEP_ALIVE_SECONDS = 600.0
"""Idle time after which the worker ends."""


class Server:
    """Store the waiting commands."""

    def __init__(self) -> None:
        self._identity = own_identity()
        self._commands: queue.Queue[Command] = queue.Queue()

    def accept(self, listener: socket.socket) -> None:
        """Start a thread for each connection."""
        while True:
            connected, _ = listener.accept()
            threading.Thread(target=self._serve_client, args=(Connection(connected),), daemon=True).start()

    def _serve_client(self, connection: Connection) -> None:
        command: Command | None = None
        with contextlib.suppress(OSError, ProtocolError):
            connection.send("hello", identity=self._identity)
            while (message := connection.receive()) is not None:
                match message["type"]:
                    case "run" if command is None:
                        command = Command.from_message(connection, message)
                        self._commands.put(command)
                    case "written" if command is not None:
                        command.replies.put(message)
                    case "interrupt" if command is not None:
                        command.interrupt()
                    case "stop":
                        stop()
                    case _:
                        raise ProtocolError("a message has an unknown type")
        if command is not None:
            command.disconnect()
        else:
            connection.close()

    def run_commands(self) -> None:
        """Run commands until none arrives within the keep-alive time."""
        with contextlib.suppress(queue.Empty):
            while True:
                command = self._commands.get(timeout=KEEP_ALIVE_SECONDS)
                with contextlib.suppress(OSError):
                    command.connection.send("started")
                command.end(command.run())


def serve() -> None:
    """Run the worker until it is stopped or idle."""
    process.configure_process()
    path = socket_file.socket_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    install_signal_handlers(stop)
    server = Server()
    threading.Thread(target=server.accept, args=(listener,), daemon=True).start()
    server.run_commands()
    stop()


def stop() -> None:
    """End the worker at once."""
    temporary.remove_own()
    socket_file.socket_path().unlink(missing_ok=True)
    os._exit(0)
