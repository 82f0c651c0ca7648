"""Report the progress of a command to its client, which continues the command if the worker crashes."""

import base64
import contextlib
import errno
import io
import os
import socket
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Any

from artgen.system import attempt
from artgen.worker_process.protocol import Connection

Replies = SimpleQueue[dict[str, Any] | None]
"""Replies of a client to `stdout`; None after the connection is closed."""

MAX_REPLY_SECONDS = 60.0
"""Longest time that a client may need to write to stdout. A stopped client must not block the other clients."""

_MAX_WRITE_BYTES = 1 << 20


@contextlib.contextmanager
def reported(connection: Connection, entropy: int) -> Iterator[None]:
    """Report the progress of the command in the block.

    Args:
        connection: connection to the client.
        entropy: random bits of the command.
    """

    def send(kind: str, **values: Any) -> None:
        with contextlib.suppress(OSError):  # the client was killed
            connection.send(kind, **values)

    attempt.start(send, entropy)
    try:
        yield
    finally:
        attempt.end()


class ClientStdout(io.RawIOBase):
    """Represent stdout of a client. The client writes the data, and counts the bytes that were written before a crash.

    If descriptor 1 was replaced, for example by the null device, the data is written to the descriptor.
    """

    def __init__(self, connection: Connection, replies: Replies) -> None:
        """Use descriptor 1, which is stdout of the client."""
        self._connection = connection
        self._replies = replies
        self._status = os.fstat(1)

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return os.isatty(1)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Write data and return the number of written bytes.

        Raises:
            OSError: the client cannot write, or was stopped or killed.
        """
        content = bytes(data[:_MAX_WRITE_BYTES])
        if not os.path.samestat(os.fstat(1), self._status):
            return os.write(1, content)
        self._connection.send("stdout", data=base64.b64encode(content).decode("ascii"))
        try:
            reply = self._replies.get(timeout=MAX_REPLY_SECONDS)
        except Empty:  # then the client continues the command in its own process
            self._connection.socket.shutdown(socket.SHUT_RDWR)
            reply = None
        if reply is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if number := reply.get("errno"):
            raise OSError(number, os.strerror(number))
        return len(content)
