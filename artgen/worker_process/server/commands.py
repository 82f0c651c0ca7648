"""Represent the command of a client, and run it in this process."""

import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from artgen.system import process
from artgen.worker_process.protocol import NUM_DESCRIPTORS, Connection, ProtocolError
from artgen.worker_process.server.client_state import CommandResult, client_state, discard_output
from artgen.worker_process.server.reports import ClientStdout, Replies, reported

EXIT_BUG = 1
"""Exit code of Python after an unexpected exception."""

WAKE_SIGNAL = signal.SIGUSR1
"""Signal that interrupts a system call. Its handler does nothing."""


class Command:
    """Store a command of a client: waiting, running or ended.

    The main thread calls `run` and `end`. The thread that reads from the client calls `interrupt` and `disconnect`.

    Attributes:
        connection: connection to the client.
        arguments: arguments of the command line, without the name of the program.
        environment: environment variables of the client.
        umask: umask of the client.
        descriptors: stdin, stdout, stderr and working directory of the client, until the command runs.
        entropy: random bits of the command.
        replies: replies of the client to `stdout`.
        is_restored: whether `run` could remove the state of the command from this process. Otherwise the worker must
            end.
    """

    def __init__(self, connection: Connection, message: dict[str, Any], descriptors: list[int]) -> None:
        """Store a valid command; `from_message` checks the values."""
        self.connection = connection
        self.arguments: list[str] = message["arguments"]
        self.environment: dict[str, str] = message["environment"]
        self.umask: int = message["umask"]
        self.entropy: int = message["entropy"]
        self.descriptors = descriptors
        self.replies: Replies = SimpleQueue()
        self.is_restored = True
        self._lock = threading.RLock()
        self._is_running = False
        self._is_ended = False

    @classmethod
    def from_message(cls, connection: Connection, message: dict[str, Any]) -> "Command":
        """Convert a `run` message, and check it completely.

        Raises:
            ProtocolError: a value has the wrong type, or the descriptors are not three streams and a folder. The
                descriptors are closed.
        """
        descriptors = connection.take_descriptors()
        try:
            _check_message(message, descriptors)
        except ProtocolError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return cls(connection, message, descriptors)

    def run(self) -> int:
        """Run the command, unless its client has disconnected. Return its exit code."""
        with self._lock:
            if self._is_ended:
                return EXIT_BUG
            self._is_running = True
            descriptors, self.descriptors = self.descriptors, []
        open_stdout = partial(ClientStdout, self.connection, self.replies)
        result = CommandResult()
        try:
            with client_state(self.arguments, self.environment, self.umask, descriptors, open_stdout, result):
                try:
                    with reported(self.connection, self.entropy):
                        result.exit_code = run_command_line(self._end_at_once)
                        result.has_exit_code = True
                finally:
                    with self._lock:
                        self._is_running = False
        except Exception:
            self.is_restored = False
            if not result.has_exit_code:
                self.disconnect()  # the client runs the command
        return result.exit_code

    def end(self, exit_code: int) -> None:
        """Send the exit code to the client, unless the command ended before, see `process.exit_at_once`."""
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
        with contextlib.suppress(OSError):
            self.connection.send("finished", exit_code=exit_code)

    def interrupt(self) -> None:
        """Act on Ctrl-C in the client. The thread that reads from the client calls this method."""
        from artgen.cli import interrupts

        with self._lock:
            if self._is_running and not self._is_ended:
                interrupts.interrupt_from_client()

    def disconnect(self) -> None:
        """Stop the command, because its client has disconnected: it was killed, or it has the exit code."""
        with self._lock:
            if self._is_running and not self._is_ended:
                self._abandon()
            self._is_ended = True
        self.replies.put(None)
        self.close()

    def close(self) -> None:
        """Close the connection, and the descriptors of a command that did not run."""
        with self._lock:
            descriptors, self.descriptors = self.descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)
        self.connection.close()

    def _end_at_once(self, exit_code: int) -> None:
        """End the command for its client, as `os._exit` ends an ordinary process."""
        with self._lock:
            self._abandon()
            self.end(exit_code)

    def _abandon(self) -> None:
        from artgen.system import temporary

        process.abandon_command()
        discard_output()
        temporary.remove_own()
        _wake_main_thread()


def _check_message(message: dict[str, Any], descriptors: list[int]) -> None:
    arguments, environment, umask, entropy = map(message.get, ("arguments", "environment", "umask", "entropy"))
    if not isinstance(arguments, list) or not all(map(_is_text, arguments)):
        raise ProtocolError("the arguments are not a list of texts")
    if not isinstance(environment, dict) or not all(map(_is_text, (*environment, *environment.values()))):
        raise ProtocolError("the environment is not a table of texts")
    if any(not name or "=" in name for name in environment):
        raise ProtocolError("the name of a variable is invalid")
    if type(umask) is not int or not 0 <= umask <= 0o777:
        raise ProtocolError("the umask is not a number from 0 to 0o777")
    if type(entropy) is not int or not 0 <= entropy < 1 << 256:
        raise ProtocolError("the random bits are not a number of 256 bits")
    if len(descriptors) != NUM_DESCRIPTORS:
        raise ProtocolError(f"a command has {NUM_DESCRIPTORS} descriptors, not {len(descriptors)}")
    if [stat.S_ISDIR(os.fstat(descriptor).st_mode) for descriptor in descriptors] != [False, False, False, True]:
        raise ProtocolError("the descriptors are not three streams and a folder")


def _is_text(value: Any) -> bool:
    """Return whether a value can be an argument of a process: it has no NUL and can be encoded."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def install_signal_handlers(stop: Callable[[], object]) -> None:
    """Install the handlers of the worker. The main thread calls this function once.

    Args:
        stop: ends the worker; is called for SIGTERM, SIGHUP and SIGINT.
    """
    signal.signal(WAKE_SIGNAL, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _wake_main_thread() -> None:
    """Let the main thread leave a system call, such as a read from a terminal. It continues with the null device."""
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_kill(threading.main_thread().ident or 0, WAKE_SIGNAL)


def run_command_line(end_command: Callable[[int], object]) -> int:
    """Run the command line `sys.argv`. Return its exit code, as Python determines it.

    Args:
        end_command: is called with the exit code if the command ends while it is still busy, see
            `process.exit_at_once`.
    """
    process.start_command(end_command)
    from artgen.cli import interrupts
    from artgen.cli.main import run
    from artgen.cli.status_line import status_line

    interrupts.exit_on_sigint()
    try:
        run()
    except SystemExit as system_exit:
        return _exit_code(system_exit.code)
    except process.CommandAbandoned:
        return interrupts.EXIT_INTERRUPTED
    except BaseException as error:
        status_line.close()
        own_frame = error.__traceback__
        shown = error.with_traceback(own_frame.tb_next if own_frame else None)
        sys.excepthook(type(shown), shown, shown.__traceback__)
        return EXIT_BUG
    finally:
        status_line.close()
    return 0


def _exit_code(code: Any) -> int:
    """Return the exit code of `SystemExit(code)`; print a text as Python does."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return EXIT_BUG
