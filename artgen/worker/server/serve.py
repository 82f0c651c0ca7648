"""Accept connections in threads, and run the commands in the main thread, in the order of their arrival."""

import contextlib
import os
import queue
import socket
import threading

from artgen.system import process
from artgen.worker.client import socket_file
from artgen.worker.client.identity import own_identity
from artgen.worker.protocol import Connection, ProtocolError
from artgen.worker.server.commands import Command, run_command
from artgen.worker.server.reports import Replies

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
        replies: Replies = queue.SimpleQueue()
        with contextlib.suppress(OSError, ProtocolError):
            connection.send("hello", identity=self._identity)
            while (message := connection.receive()) is not None:
                match message["type"]:
                    case "run":
                        self._commands.put(Command.from_message(connection, message, replies))
                    case "written":
                        replies.put(message)
                    case "stop":
                        os._exit(0)
                    case _:
                        pass
        replies.put(None)

    def run_commands(self) -> None:
        """Run commands until none arrives within the keep-alive time."""
        with contextlib.suppress(queue.Empty):
            while True:
                command = self._commands.get(timeout=KEEP_ALIVE_SECONDS)
                with contextlib.suppress(OSError):
                    command.connection.send("started")
                exit_code = run_command(command)
                with contextlib.suppress(OSError):
                    command.connection.send("finished", exit_code=exit_code)


def serve() -> None:
    """Run the worker until it is stopped or idle."""
    process.configure_process()
    path = socket_file.socket_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    server = Server()
    threading.Thread(target=server.accept, args=(listener,), daemon=True).start()
    server.run_commands()
    path.unlink(missing_ok=True)
