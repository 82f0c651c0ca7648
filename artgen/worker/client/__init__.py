"""Send a command to the worker.

This package is imported before the command line, so it imports neither typer, rich nor torch.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from artgen.worker.client import settings, socket_file
from artgen.worker.client.identity import difference, own_identity
from artgen.worker.protocol import Connection, ProtocolError

WORKER_COMMANDS = frozenset(
    {"txt2img", "sample", "img2img", "inpaint", "outpaint", "denoise", "batch", "replay", "anomaly", "reconstruct"}
)
"""Commands that load models. The other commands run in an ordinary process."""


def run_in_worker(arguments: Sequence[str]) -> int | None:
    """Run a command in the worker. Return its exit code; None if it must run in this process.

    Args:
        arguments: arguments of the command line, without the name of the program.
    """
    if not settings.uses_worker(arguments):
        return None
    connection = socket_file.connect()
    if connection is None:
        return None
    try:
        return _run(connection, arguments)
    except (OSError, ProtocolError):
        return None  # the worker crashed
    finally:
        connection.close()


def _run(connection: Connection, arguments: Sequence[str]) -> int | None:
    hello = connection.receive()
    if hello is None or difference(own_identity(), hello.get("identity")):
        return None
    working_directory = os.open(".", os.O_RDONLY)
    umask = os.umask(0)
    os.umask(umask)
    connection.send(
        "run",
        (0, 1, 2, working_directory),
        arguments=list(arguments),
        environment=dict(os.environ),
        umask=umask,
    )
    os.close(working_directory)

    def on_sigint(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        connection.send("interrupt")

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_sigint)
    while (message := connection.receive()) is not None:
        match message:
            case {"type": "position", "position": int(position)}:
                sys.stderr.write(f"Waiting for the worker: position {position}.\n")
            case {"type": "finished", "exit_code": int(exit_code)}:
                return exit_code
    return None
