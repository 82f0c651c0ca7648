"""Send a command to the worker.

This package is imported before the command line, so it imports neither typer, rich nor torch.
"""

import base64
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from artgen.worker.client import settings, socket_file
from artgen.worker.client.identity import difference, own_identity
from artgen.worker.client.progress import Progress, remaining_stdout
from artgen.worker.protocol import Connection, ProtocolError

WORKER_COMMANDS = frozenset(
    {"txt2img", "sample", "img2img", "inpaint", "outpaint", "denoise", "batch", "replay", "anomaly", "reconstruct"}
)
"""Commands that load models. The other commands run in an ordinary process."""

EXIT_INTERRUPTED = 130


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
    progress = Progress(int.from_bytes(os.urandom(32), "big"))
    try:
        exit_code = _run(connection, arguments, progress)
    except (OSError, ProtocolError):  # the worker crashed
        exit_code = None
    finally:
        connection.close()
    if exit_code is None and (progress.has_started or progress.is_interrupted):
        return _continue(progress)
    return exit_code


def _run(connection: Connection, arguments: Sequence[str], progress: Progress) -> int | None:
    """Return the exit code of the command; None if the worker did not run it, or crashed."""
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
        entropy=progress.first.entropy,
    )
    os.close(working_directory)
    with _interrupts_sent(connection, progress):
        while (message := connection.receive()) is not None:
            match message:
                case {"type": "position", "position": int(position)}:
                    sys.stderr.write(f"Waiting for the worker: position {position}.\n")
                case {"type": "stdout", "data": str(data)}:
                    connection.send("written", errno=progress.write(base64.b64decode(data)))
                case {"type": "finished", "exit_code": int(exit_code)}:
                    return exit_code
                case _:
                    progress.update(message)
    return None


@contextlib.contextmanager
def _interrupts_sent(connection: Connection, progress: Progress) -> Iterator[None]:
    """Send Ctrl-C to the worker. Afterwards restore the handler, also for the command in this process."""
    previous = signal.getsignal(signal.SIGINT)

    def on_sigint(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        progress.is_interrupted = True
        with contextlib.suppress(OSError):  # the worker crashed
            connection.send("interrupt")

    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_sigint)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _continue(progress: Progress) -> int | None:
    """Prepare this process to continue the command of a worker that crashed. Return 130 after Ctrl-C, else None."""
    from artgen.system import attempt

    progress.remove_incomplete()
    if progress.is_interrupted:
        sys.stderr.write("error: Interrupted.\n")
        return EXIT_INTERRUPTED
    attempt.continue_from(progress.first)
    if progress.first.printed_bytes:
        sys.stdout = remaining_stdout(progress.first.printed_bytes)
    return None
