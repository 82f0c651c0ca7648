"""Test the execution of commands in the worker, with functions in place of the command line of artgen."""

import contextlib
import errno
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from artgen.cli import main
from artgen.cli.console import print_note, print_result, stderr_console
from artgen.cli.reporter import Reporter
from artgen.events import Loading, StepEvent
from artgen.system import command_state, input_files, process, temporary
from artgen.worker_process.protocol import Connection, ProtocolError
from artgen.worker_process.server import commands
from artgen.worker_process.server.commands import Command

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, commands.WAKE_SIGNAL)


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give this process the signal handlers of the worker, and remove its state afterwards."""
    monkeypatch.setattr(process, "_owns_process", True)
    monkeypatch.setattr(process, "_end_command", None)
    monkeypatch.setattr(process, "_is_abandoned", False)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    commands.install_signal_handlers(lambda: None)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Client:
    """Send a command to this process and read its output.

    Attributes:
        command: the received command.
        connection: the client's end of the connection.
    """

    def __init__(
        self,
        *arguments: str,
        stdin: int | None = None,
        folder: Path | None = None,
        errno: int = 0,
        inherits: bool = True,
        **environment: str,
    ) -> None:
        """Send a command.

        Args:
            arguments: arguments of the command line.
            stdin: descriptor; the null device if omitted.
            folder: working directory.
            errno: number of the error of each write to stdout.
            inherits: whether the client has the environment variables of this process.
            environment: other environment variables of the client.
        """
        self._errno = errno
        first, second = socket.socketpair(socket.AF_UNIX)
        self.connection, server = Connection(first), Connection(second)
        null = os.open(os.devnull, os.O_RDONLY)
        self._readers, writers = zip(os.pipe(), os.pipe(), strict=True)
        directory = os.open(folder or ".", os.O_RDONLY)
        descriptors = (null if stdin is None else stdin, *writers, directory)
        if inherits:
            environment = {**os.environ, **environment}
        self.connection.send("run", descriptors, **message(arguments=list(arguments), environment=environment))
        for descriptor in (null, *writers, directory):
            os.close(descriptor)
        received = server.receive()
        assert received is not None
        self.command = Command.from_message(server, received)
        self._texts: dict[str, bytes] = {}
        self._messages: list[dict[str, Any]] = []
        self._threads = [threading.Thread(target=self._read_messages, daemon=True)]
        for name, reader in zip(("stdout", "stderr"), self._readers, strict=True):
            self._threads.append(threading.Thread(target=self._read, args=(name, reader), daemon=True))
        for thread in self._threads:
            thread.start()

    def _read(self, name: str, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as file:
            self._texts[name] = file.read()

    def _read_messages(self) -> None:
        """Write to stdout for the worker, as the client does."""
        with contextlib.suppress(OSError):
            while (received := self.connection.receive()) is not None:
                self._messages.append(received)
                if received["type"] == "stdout":
                    self.command.replies.put({"type": "written", "errno": self._errno})

    def run(self) -> int:
        """Run the command, and return its exit code for the client."""
        self.command.end(self.command.run())
        self.command.disconnect()
        return self.exit_code

    @property
    def exit_code(self) -> int:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self.connection.close()
        (code,) = [each["exit_code"] for each in self._messages if each["type"] == "finished"]
        assert isinstance(code, int)
        return code

    @property
    def stdout(self) -> str:
        import base64

        parts = [base64.b64decode(each["data"]) for each in self._messages if each["type"] == "stdout"]
        return (self._texts["stdout"] + b"".join(parts)).decode()

    @property
    def stderr(self) -> str:
        return self._texts["stderr"].decode()


def message(**changes: Any) -> dict[str, Any]:
    return {"arguments": [], "environment": {}, "umask": 0o22, "entropy": 7} | changes


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that replaces the command line."""
    return lambda function: monkeypatch.setattr(main, "run", function)


Replace = Callable[[Callable[[], object]], None]


def num_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


INVALID = {
    "no arguments": {"arguments": None},
    "arguments that are not a list": {"arguments": "txt2img"},
    "an argument that is not a text": {"arguments": ["txt2img", 7]},
    "an argument with NUL": {"arguments": ["a\0b"]},
    "an argument that cannot be encoded": {"arguments": ["\ud800"]},
    "no environment": {"environment": None},
    "an environment that is not a table": {"environment": [["A", "b"]]},
    "a variable that is not a text": {"environment": {"A": 1}},
    "a variable with NUL": {"environment": {"A": "\0"}},
    "a variable without a name": {"environment": {"": "b"}},
    "a name with an equals sign": {"environment": {"A=B": "c"}},
    "no umask": {"umask": None},
    "a umask that is a truth value": {"umask": True},
    "a negative umask": {"umask": -1},
    "a large umask": {"umask": 0o1000},
    "random bits that are not a number": {"entropy": "7"},
    "too many random bits": {"entropy": 1 << 256},
}


@pytest.mark.parametrize("changes", INVALID.values(), ids=INVALID.keys())
def test_invalid_commands_are_refused_and_their_descriptors_closed(changes: dict[str, Any]) -> None:
    before = num_descriptors()
    null, folder = os.open(os.devnull, os.O_RDWR), os.open(".", os.O_RDONLY)
    check_refused(message(**changes), (null, null, null, folder))
    os.close(null)
    os.close(folder)
    assert num_descriptors() == before


@pytest.mark.parametrize("kinds", ["", "fff", "ffff", "dffd", "fdfd", "ffdd", "fffdf", "fffffffff"])
def test_commands_with_wrong_descriptors_are_refused(kinds: str) -> None:
    before = num_descriptors()
    descriptors = [os.open("." if kind == "d" else os.devnull, os.O_RDONLY) for kind in kinds]
    check_refused(message(), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    assert num_descriptors() == before


def check_refused(values: dict[str, Any], descriptors: Any) -> None:
    first, second = (Connection(each) for each in socket.socketpair(socket.AF_UNIX))
    with contextlib.closing(first), contextlib.closing(second):
        first.send("run", descriptors, **values)
        with pytest.raises(ProtocolError):
            Command.from_message(second, second.receive() or {})


@pytest.mark.parametrize("data", [b"{", b"[]\n", b"7\n", b'{"type": 7}\n', b"\xff\n", b"[" * 100_000 + b"\n", b""])
def test_damaged_messages_and_ends_of_connections_leave_nothing_open(data: bytes) -> None:
    before = num_descriptors()
    first, second = socket.socketpair(socket.AF_UNIX)
    null = os.open(os.devnull, os.O_RDONLY)
    if data:
        socket.send_fds(first, [data], [null, null])
    first.close()
    os.close(null)
    connection = Connection(second)
    with contextlib.suppress(ProtocolError):
        assert connection.receive() is None
    connection.close()
    assert num_descriptors() == before


def test_received_descriptors_are_closed_in_child_processes() -> None:
    client = Client()
    assert not any(map(os.get_inheritable, client.command.descriptors))
    client.command.disconnect()
    client.connection.close()


EXITS: dict[str, tuple[BaseException | None, int, str]] = {
    "no exception": (None, 0, ""),
    "None": (SystemExit(), 0, ""),
    "a number": (SystemExit(7), 7, ""),
    "a large number": (SystemExit(259), 3, ""),
    "a negative number": (SystemExit(-1), 255, ""),
    "a truth value": (SystemExit(True), 1, ""),
    "a text": (SystemExit("no disk"), 1, "no disk\n"),
    "a bug": (RuntimeError("a bug"), 1, "RuntimeError: a bug\n"),
    "no memory": (MemoryError(), 1, "MemoryError\n"),
    "a deep recursion": (RecursionError("too deep"), 1, "RecursionError: too deep\n"),
    "an unusual exception": (GeneratorExit(), 1, "GeneratorExit\n"),
    "an abandoned command": (process.CommandAbandoned(), 130, ""),
}


@pytest.mark.parametrize(("error", "code", "text"), EXITS.values(), ids=EXITS.keys())
def test_exit_codes_and_messages_are_those_of_python(
    command_line: Replace, error: BaseException | None, code: int, text: str
) -> None:
    def fail() -> None:
        if error is not None:
            raise error

    command_line(fail)
    client = Client()
    assert client.run() == code
    assert client.stderr.endswith(text)
    assert client.stderr.startswith("Traceback (most recent call last):\n") == isinstance(
        error, Exception | GeneratorExit
    )
    assert "run_command_line" not in client.stderr
    command_line(lambda: print_result("next"))
    client = Client()
    assert (client.run(), client.stdout, client.stderr) == (0, "next\n", "")


def test_a_command_has_the_state_of_its_client_and_leaves_none(
    command_line: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_WORKER", "1")
    seen: dict[str, Any] = {}

    def note_state() -> None:
        umask = os.umask(0)
        os.environ["OF_COMMAND"] = "1"
        seen.update(
            argv=sys.argv, folder=Path.cwd(), environment=dict(os.environ), umask=umask, zone=time.tzname[0],
            temporary=tempfile.gettempdir(), stdin=sys.stdin.read(), sigint=signal.getsignal(signal.SIGINT),
            names=[stream.name for stream in (sys.stdin, sys.stdout, sys.stderr)], out=sys.stdout is sys.__stdout__,
            files=[stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)],
            elapsed=process.elapsed_seconds(),
        )  # fmt: skip

    command_line(note_state)

    def state() -> tuple[Any, ...]:
        return dict(os.environ), sys.argv, sys.stdin, sys.__stderr__, [signal.getsignal(each) for each in SIGNALS]

    before = state()
    umask = os.umask(0o27)
    folder = tmp_path / "a folder"
    folder.mkdir()
    environment = {"TZ": "XYZ5", "TMPDIR": str(tmp_path), "BYTES": "\udcff"}
    assert Client("txt2img", "caf\xe9 \udcff", folder=folder, inherits=False, **environment).run() == 0
    assert state() == before
    assert os.umask(umask) == 0o27
    assert Path.cwd() == Path("/")
    assert seen["argv"] == ["artgen", "txt2img", "caf\xe9 \udcff"]
    assert seen["environment"] == {**environment, "OF_COMMAND": "1"}
    assert (seen["folder"], seen["umask"], seen["zone"]) == (folder, 0o22, "XYZ")
    assert (seen["temporary"], seen["stdin"], seen["out"]) == (str(tmp_path), "", True)
    assert (seen["names"], seen["files"]) == (["<stdin>", "<stdout>", "<stderr>"], [0, 1, 2])
    assert callable(seen["sigint"])
    assert seen["elapsed"] < 60


def test_values_of_a_command_are_reset(command_line: Replace) -> None:
    found: list[Any] = []

    def read() -> None:
        found.append(input_files.read_stdin(100))
        found.append(stderr_console().width)
        print_note("noted")

    command_line(read)
    for text, columns in ((b"first", "50"), (b"second", "70")):
        reader, writer = os.pipe()
        os.write(writer, text)
        os.close(writer)
        client = Client(stdin=reader, COLUMNS=columns, LINES="10")
        os.close(reader)
        assert client.run() == 0, client.stderr
        assert client.stderr == "noted\n"
    assert found == [b"first", 50, b"second", 70]


def test_a_stream_that_a_library_keeps_stays_usable(command_line: Replace) -> None:
    streams: list[Any] = []
    command_line(lambda: streams.append(sys.stderr))
    Client().run()
    command_line(lambda: print("from the first stream", file=streams[0]))
    client = Client()
    assert (client.run(), client.stderr) == (0, "from the first stream\n")


def test_output_that_cannot_be_written_does_not_reach_the_next_client(command_line: Replace) -> None:
    command_line(lambda: sys.stdout.write("lost"))
    client = Client(errno=errno.ENOSPC)
    if sys.__stdout__ is not None and sys.__stdout__.write_through:  # python -u: the command itself fails
        assert client.run() == 1
    else:
        assert client.run() == 120
        assert client.stderr.startswith("Exception ignored in: <_io.TextIOWrapper name='<stdout>' mode='w' encoding=")
    assert client.stderr.endswith("\nOSError: [Errno 28] No space left on device\n")
    command_line(lambda: print("next", flush=True))
    client = Client()
    assert (client.run(), client.stdout) == (0, "next\n")


def test_two_hundred_commands_leave_no_descriptors_and_threads(command_line: Replace) -> None:
    numbers = iter(range(200))

    def run() -> None:
        number = next(numbers)
        with Reporter(quiet=False) as reporter, temporary.temp_file(Path(), b"x"):
            reporter(Loading("vae"))
            print_result(str(number))
            if number % 3 == 0:
                raise RuntimeError("a bug")
            if number % 3 == 1:
                raise KeyboardInterrupt

    command_line(run)
    Client().run()
    before = num_descriptors(), threading.active_count(), list(sys.meta_path)
    for number in range(1, 200):
        client = Client()
        assert client.run() == (0 if number % 3 == 2 else 1)
        assert client.stdout == f"{number}\n"
    assert (num_descriptors(), threading.active_count(), sys.meta_path) == before


def interrupt_when(client: Client, ready: threading.Event, *, times: int = 1) -> None:
    def interrupt() -> None:
        ready.wait()
        for _ in range(times):
            client.command.interrupt()

    threading.Thread(target=interrupt).start()


@pytest.mark.parametrize("phase", ["start", "planning", "loading"])
def test_interrupt_before_the_first_step_ends_the_command_at_once(
    command_line: Replace, phase: str, tmp_path: Path
) -> None:
    """Check a command that waits for data from stdin, which never comes, and then saves a file."""
    from artgen.cli import interrupts

    ready = threading.Event()
    reached: list[str] = []
    folder = tmp_path / "folder"
    folder.mkdir()

    def wait() -> None:
        try:
            ready.set()
            assert os.read(0, 1) == b""  # the null device
            for thread in client._threads[1:]:
                thread.join(20)
                assert not thread.is_alive(), "a pipe of the client is open"
            while not any(each["type"] == "finished" for each in client._messages):
                time.sleep(0.01)
            assert not list(folder.iterdir())
            print_result("late")
            reached.append("late result")
            with temporary.temp_file(Path(), b"late"):
                reached.append("late file")
        finally:
            reached.extend(path.name for path in folder.iterdir())

    def run() -> None:
        if phase == "start":
            wait()
        interrupts.restore_sigint()
        if phase == "planning":
            wait()
        with Reporter(quiet=True) as reporter, temporary.temp_file(Path(), b"x"):
            reporter(Loading("vae"))
            wait()

    command_line(run)
    reader, writer = os.pipe()
    client = Client(stdin=reader, folder=folder)
    interrupt_when(client, ready)
    assert client.run() == 130
    assert reached == ["late result"]
    assert (client.stdout, client.stderr) == ("", "error: Interrupted.\n")
    os.close(reader)
    os.close(writer)
    command_line(lambda: print_result("next"))
    client = Client()
    assert (client.run(), client.stdout) == (0, "next\n")


@contextlib.contextmanager
def handled_errors() -> Iterator[None]:
    """Convert errors to an exit code, as the command line does."""
    try:
        with main._handle_errors():
            yield
    except typer.Exit as error:
        sys.exit(error.exit_code)


@pytest.mark.parametrize("times", [1, 2])
def test_interrupt_after_a_step(command_line: Replace, times: int) -> None:
    """Check that the first Ctrl-C stops at the next step, and the second one at once."""
    events: list[str] = []

    def run() -> None:
        with handled_errors(), Reporter(quiet=True) as reporter:
            reporter(StepEvent(1, 9, 1, 1, 1))
            ready = threading.Event()
            interrupt_when(client, ready, times=times)
            ready.set()
            while not (process._is_abandoned if times == 2 else reporter._interrupts.interrupted):
                time.sleep(0.01)
            events.append("step")
            reporter(StepEvent(2, 9, 1, 1, 1))
            events.append("not reached")

    command_line(run)
    client = Client()
    assert client.run() == 130
    assert events == ["step"]
    stopping = "\nStopping after this step. Press Ctrl-C again to exit now.\n"
    assert client.stderr == stopping + ("error: Interrupted.\n" if times == 1 else "")


def test_interrupt_after_the_end_does_nothing(command_line: Replace) -> None:
    command_line(lambda: None)
    client = Client()
    assert client.run() == 0
    client.command.interrupt()


def test_a_command_whose_client_was_killed_stops_and_saves_nothing(command_line: Replace, tmp_path: Path) -> None:
    stopped: list[bool] = []
    folder = tmp_path / "folder"
    folder.mkdir()

    def run() -> None:
        with Reporter(quiet=True) as reporter:
            reporter(StepEvent(1, 9, 1, 1, 1))
            with temporary.temp_file(Path(), b"x"):
                client.command.disconnect()
                stopped.append(not list(folder.iterdir()))
            reporter(StepEvent(2, 9, 1, 1, 1))
            stopped.append(False)

    command_line(run)
    client = Client(folder=folder)
    assert client.command.run() == 130
    assert stopped == [True]
    client.connection.close()


def test_a_waiting_command_whose_client_was_killed_does_not_run(command_line: Replace) -> None:
    before = num_descriptors()
    command_line(lambda: pytest.fail("the command ran"))
    client = Client()
    client.command.disconnect()
    client.command.run()
    client.connection.close()
    for thread in client._threads:
        thread.join()
    assert num_descriptors() == before


def test_a_worker_that_cannot_restore_its_state_ends_after_the_command(
    command_line: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(command_state, "_resets", [fail])
    command_line(lambda: print_result("done"))
    client = Client()
    assert (client.run(), client.stdout, client.stderr) == (0, "done\n", "")
    assert not client.command.is_restored


def test_a_client_whose_state_cannot_be_used_runs_the_command_itself(
    command_line: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchdir", fail)
    command_line(lambda: pytest.fail("the command ran"))
    client = Client()
    client.command.end(client.command.run())
    for thread in client._threads:
        thread.join(20)
    assert client._messages == []
    client.connection.close()
