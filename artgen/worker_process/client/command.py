"""Run a command in the worker: connect, compare the identities, wait, and return the exit code."""

import base64
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import Any

from artgen.worker_process.client import settings, socket_file, stdin
from artgen.worker_process.client.identity import difference, own_identity
from artgen.worker_process.client.progress import Progress, remaining_stdout
from artgen.worker_process.client.socket_file import WorkerUnavailable
from artgen.worker_process.protocol import Connection, ProtocolError

EXIT_INTERRUPTED = 130

_INTERRUPTED_MESSAGE = b"error: Interrupted.\n"
_ERASE_LINE = "\r\x1b[2K"
_MAX_INTERRUPTS = 3
"""Number of times that the user presses Ctrl-C before the client ends although the worker does not answer."""

_OWN_FILES = re.compile(r"/dev/(fd/|tty)|/proc/(self|thread-self|\d+)/")
"""Files that are different in each process. The worker has only the first three descriptors, and no terminal."""

_PROCESS_OPTIONS = frozenset({"--workers", "--ray"})
"""Options that start processes. The worker would not be faster, and its models occupy the memory of the device."""

_PROCESS_VARIABLES = ("ARTGEN_WORKERS", "ARTGEN_RAY")


def run(arguments: Sequence[str], *, starts_worker: bool) -> int | None:
    """Run a command in the worker. Return its exit code; None if it must run in this process.

    Args:
        arguments: arguments of the command line, without the name of the program.
        starts_worker: start a worker if none runs.
    """
    options = _short_options(arguments)
    try:
        _check_process(arguments)
        with closing(_connect(starts_worker=starts_worker)) as connection:
            return _run(connection, arguments, is_quiet="q" in options)
    except WorkerUnavailable as reason:
        if "v" in options and "q" not in options:
            sys.stderr.write(f"Not using the worker: {ascii_text(str(reason))}.\n")
        return None


def ascii_text(text: str) -> str:
    """Return a text whose control characters and other special characters are escapes."""
    return text.encode("unicode_escape").decode("ascii")


def _short_options(arguments: Sequence[str]) -> set[str]:
    """Return `q` and `v` if the arguments contain `--quiet` and `--verbose`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    names = {"--quiet": "q", "--verbose": "v", "-q": "q", "-v": "v", "-qv": "qv", "-vq": "qv"}
    return {letter for argument in arguments[:end] for letter in names.get(argument, "")}


def _check_process(arguments: Sequence[str]) -> None:
    """Check that a worker can do what this process can do.

    Raises:
        WorkerUnavailable: the command needs this process.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        raise WorkerUnavailable("stdin, stdout or stderr is closed")
    if not os.access(".", os.X_OK):
        raise WorkerUnavailable("the working directory cannot be used")
    if any(_OWN_FILES.search(argument) for argument in arguments):
        raise WorkerUnavailable("the command uses a file of its own process")
    if any(map(stdin.is_pipe, arguments)):
        raise WorkerUnavailable("the command waits for a pipe")
    names = {argument.partition("=")[0] for argument in arguments}
    if names & _PROCESS_OPTIONS or any(map(os.environ.get, _PROCESS_VARIABLES)):
        raise WorkerUnavailable("the command starts other processes, which load the models")
    if "--server" in names or os.environ.get("ARTGEN_SERVER") or settings.has_server():
        raise WorkerUnavailable("the command can run on a server")


def _connect(*, starts_worker: bool) -> Connection:
    """Return a connection to a worker with the identity of this process.

    Raises:
        WorkerUnavailable: no worker runs or can be started, or it is different.
    """
    connection = socket_file.connect()
    if connection is None:
        if not starts_worker:
            raise WorkerUnavailable("no worker runs")
        from artgen.worker_process.client.start import start_worker

        start_worker()
        connection = socket_file.connect()
        if connection is None:
            raise WorkerUnavailable("the worker ended")
    try:
        hello = receive_hello(connection)
        if reason := difference(own_identity(), hello.get("identity")):
            raise WorkerUnavailable(reason)
    except WorkerUnavailable:
        connection.close()
        raise
    return connection


def receive_hello(connection: Connection) -> dict[str, Any]:
    """Return the first message of a worker.

    Raises:
        WorkerUnavailable: the worker does not answer in time, or ends.
    """
    connection.socket.settimeout(socket_file.HELLO_SECONDS)
    try:
        hello = connection.receive()
    except TimeoutError as error:
        raise WorkerUnavailable(f"it does not answer within {socket_file.HELLO_SECONDS:g} seconds") from error
    except (OSError, ProtocolError) as error:
        raise WorkerUnavailable(f"the connection failed: {error}") from error
    if hello is None or hello["type"] != "hello":
        raise WorkerUnavailable("it ended")
    connection.socket.settimeout(None)
    return hello


class _PositionLine:
    """Print the position of a command that waits."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._is_shown = False

    def show(self, position: int) -> None:
        """Print the position in the queue. A terminal shows only the last one."""
        if self._is_quiet:
            return
        from artgen.system.terminal import has_styles

        text = f"Waiting for the worker: position {position}."
        if has_styles(sys.stderr):
            sys.stderr.write(f"{_ERASE_LINE if self._is_shown else ''}{text}")
            self._is_shown = True
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Erase the position."""
        if self._is_shown:
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()
        self._is_shown = False


def _run(connection: Connection, arguments: Sequence[str], *, is_quiet: bool) -> int | None:
    """Return the exit code of the command. If the worker crashes, prepare this process to continue it, return None.

    Raises:
        WorkerUnavailable: the worker ended before the command started, or stdin sends no data.
    """
    progress = Progress(int.from_bytes(os.urandom(32), "big"))
    position_line = _PositionLine(is_quiet=is_quiet)
    with _forwarded_interrupts(connection, progress, position_line):
        try:
            if stdin.is_read(arguments) and not stdin.store():
                raise WorkerUnavailable("stdin sends no data")
            stdin_position = stdin.position()
            _send_command(connection, arguments, progress)
            exit_code = _follow(connection, progress, position_line)
        except (OSError, ProtocolError):  # the worker crashed
            exit_code = None
        position_line.clear()
    if exit_code is not None:
        return exit_code
    if not progress.has_started:
        raise WorkerUnavailable("it ended")
    stdin.rewind(stdin_position)
    return _continue(progress)


def _follow(connection: Connection, progress: Progress, position_line: _PositionLine) -> int | None:
    """Return the exit code of a command that was sent; None if the worker crashed.

    Raises:
        OSError: the worker crashed.
        ProtocolError: the worker sent an invalid message.
    """
    while (message := connection.receive()) is not None:
        match message:
            case {"type": "position", "position": int(position)}:
                position_line.show(position)
            case {"type": "stdout", "data": str(data)}:
                connection.send("written", errno=progress.write(base64.b64decode(data)))
            case {"type": "finished", "exit_code": int(exit_code)}:
                return exit_code
            case _:
                position_line.clear()
                progress.update(message)
    return None


def _send_command(connection: Connection, arguments: Sequence[str], progress: Progress) -> None:
    working_directory = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        umask = os.umask(0)
        os.umask(umask)
        connection.send(
            "run",
            (0, 1, 2, working_directory),
            arguments=list(arguments),
            environment=dict(os.environ),
            umask=umask,
            entropy=progress.first.entropy,
            session=os.getsid(0),
        )
    finally:
        os.close(working_directory)


@contextmanager
def _forwarded_interrupts(connection: Connection, progress: Progress, position_line: _PositionLine) -> Iterator[None]:
    """Send Ctrl-C to the worker; end the client if its command has not started.

    Afterwards restore the handler, also for the command in this process.
    """
    previous = signal.getsignal(signal.SIGINT)
    count = 0

    def on_sigint(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal count
        count += 1
        progress.is_interrupted = True
        if not progress.has_started or count >= _MAX_INTERRUPTS:
            position_line.clear()
            os.write(2, _INTERRUPTED_MESSAGE)
            os._exit(EXIT_INTERRUPTED)
        with suppress(OSError):  # the worker crashed
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
        sys.stderr.write(_INTERRUPTED_MESSAGE.decode("ascii"))
        return EXIT_INTERRUPTED
    attempt.continue_from(progress.first)
    if progress.first.printed_bytes:
        sys.stdout = remaining_stdout(progress.first.printed_bytes)
    return None
