"""Represent commands of clients, and run one in this process."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from artgen.worker.protocol import Connection
from artgen.worker.server.reports import ClientStdout, Replies, reported


@dataclass(frozen=True)
class Command:
    """Store a command of a client.

    Attributes:
        connection: connection to the client.
        arguments: arguments of the command line, without the name of the program.
        environment: environment variables of the client.
        umask: umask of the client.
        descriptors: stdin, stdout, stderr and working directory of the client.
        entropy: random bits of the command.
        replies: replies of the client to `stdout`.
    """

    connection: Connection
    arguments: list[str]
    environment: dict[str, str]
    umask: int
    descriptors: list[int]
    entropy: int
    replies: Replies

    @classmethod
    def from_message(cls, connection: Connection, message: dict[str, Any], replies: Replies) -> "Command":
        """Convert a `run` message."""
        return cls(
            connection,
            [str(argument) for argument in message["arguments"]],
            {str(name): str(value) for name, value in message["environment"].items()},
            int(message["umask"]),
            connection.take_descriptors(),
            int(message["entropy"]),
            replies,
        )


def run_command(command: Command) -> int:
    """Run a command with the streams, the environment and the working directory of its client. Return its exit code."""
    from artgen.system import process

    with client_state(command), reported(command.connection, command.entropy):
        process.restart_clock()
        from artgen.cli.main import run

        try:
            run()
        except SystemExit as system_exit:
            code = system_exit.code
            return code if isinstance(code, int) else 0 if code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            return 1
    return 0


@contextlib.contextmanager
def client_state(command: Command) -> Iterator[None]:
    """Give this process the streams, arguments, environment, umask and working directory of a client."""
    streams = sys.stdin, sys.stdout, sys.stderr
    own_descriptors = [os.dup(number) for number in range(3)]
    own_environment = dict(os.environ)
    arguments = sys.argv
    for number, descriptor in enumerate(command.descriptors[:3]):
        os.dup2(descriptor, number)
    os.fchdir(command.descriptors[3])
    umask = os.umask(command.umask)
    _replace_environment(command.environment)
    sys.stdin, sys.stdout, sys.stderr = (_open_stream(number, sys.__stdin__, sys.__stdout__, sys.__stderr__)
                                         for number in range(3))  # fmt: skip
    sys.stdout = _buffered(ClientStdout(command.connection, command.replies), sys.stdout)
    sys.argv = ["artgen", *command.arguments]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(own_descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for descriptor in command.descriptors:
            os.close(descriptor)
        _replace_environment(own_environment)
        os.umask(umask)
        os.chdir("/")
        sys.argv = arguments


def _replace_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def _open_stream(number: int, *originals: Any) -> io.TextIOWrapper:
    """Return a text stream of a descriptor, with the properties that Python gives it in a new process."""
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    buffered: Any = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    original = originals[number]
    return io.TextIOWrapper(
        buffered, encoding=original.encoding, errors=original.errors, line_buffering=number == 2 or raw.isatty()
    )


def _buffered(raw: io.RawIOBase, original: Any) -> io.TextIOWrapper:
    """Return a text stream that writes to `raw`, with the properties of another stream."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=original.encoding,
        errors=original.errors,
        line_buffering=original.line_buffering,
    )
