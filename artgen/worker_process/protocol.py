"""Send and receive messages of the worker: JSON objects, one per line, on a Unix stream socket.

Messages of the worker:

- `hello`: first message of each connection, with the `identity` of the worker.
- `position`: number of commands before the client's command, 1 or more.
- `started`: the command runs now.
- `stdout`: the client writes `data` (base64) to its stdout and replies with `written`.
- `plan`, `saving`, `saved`, `result`, `temporary`, `displaced`, `named`: progress of the command, with which the
  client continues it after a crash; see `artgen.worker_process.client.progress`.
- `finished`: the command ended, with its `exit_code`.
- `status`: reply to `status`.

Messages of a client:

- `run`: run a command. The descriptors of its stdin, stdout, stderr and working directory accompany the message.
- `written`: the data of `stdout` was written; `errno` is not 0 if this was impossible.
- `interrupt`: the user pressed Ctrl-C.
- `status`, `stop`: report the state of the worker, or end the worker.
"""

import json
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

VERSION = 1
"""Version of the protocol. Client and worker must have the same version."""

MAX_MESSAGE_BYTES = 16 << 20
"""Maximum length of a message. The arguments and the environment of a process are at most 6 MiB on Linux."""

NUM_DESCRIPTORS = 4
"""Number of descriptors that accompany `run`: stdin, stdout, stderr and the working directory."""

_READ_BYTES = 1 << 16


class ProtocolError(Exception):
    """Report a message that is not valid."""


class Connection:
    """Send and receive messages on a connected socket. Several threads can send."""

    def __init__(self, connected: socket.socket) -> None:
        """Use a connected Unix stream socket."""
        self.socket = connected
        self._received = b""
        self._descriptors: list[int] = []
        self._send_lock = threading.RLock()  # the handler of Ctrl-C can interrupt `send`

    def send(self, kind: str, descriptors: Sequence[int] = (), **values: Any) -> None:
        """Send a message, and copies of open descriptors with it.

        Raises:
            OSError: the connection is closed.
        """
        data = json.dumps({"type": kind, **values}).encode("ascii") + b"\n"
        with self._send_lock:
            if descriptors:
                sent = socket.send_fds(self.socket, [data], list(descriptors))
                data = data[sent:]
            self.socket.sendall(data)

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the other side closed the connection.

        Raises:
            ProtocolError: the data is not a message.
            OSError: the connection is broken.
        """
        while b"\n" not in self._received:
            if len(self._received) > MAX_MESSAGE_BYTES:
                raise ProtocolError("a message is too long")
            data, descriptors, flags, _ = socket.recv_fds(self.socket, _READ_BYTES, NUM_DESCRIPTORS)
            self._descriptors += descriptors
            for descriptor in descriptors:  # a process that the worker starts must not keep a pipe of a client open
                os.set_inheritable(descriptor, False)
            if flags & socket.MSG_CTRUNC or len(self._descriptors) > NUM_DESCRIPTORS:
                raise ProtocolError("a message has too many descriptors")
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("a message is not JSON") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ProtocolError("a message has no type")
        return message

    def take_descriptors(self) -> list[int]:
        """Return the descriptors that were received. The caller closes them."""
        descriptors, self._descriptors = self._descriptors, []
        return descriptors

    def close(self) -> None:
        """Close the connection, and the descriptors that were not taken."""
        self.socket.close()
        for descriptor in self.take_descriptors():
            os.close(descriptor)
