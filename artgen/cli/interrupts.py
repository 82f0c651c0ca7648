"""Handle Ctrl-C: exit during startup and loading; afterwards stop at the next step, or exit on the second Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from artgen.system import process
from artgen.system.command_state import register_reset
from artgen.system.terminal import has_styles

EXIT_INTERRUPTED = 130

_EXIT_MESSAGE = b"error: Interrupted.\n"
_STOPPING_MESSAGE = b"\nStopping after this step. Press Ctrl-C again to exit now.\n"
_SHOW_CURSOR = b"\x1b[?25h"  # a progress display hides the cursor
_ERASE_LINE = b"\r\x1b[2K"


def exit_on_sigint() -> None:
    """Exit on Ctrl-C with one line of text. Use this only while no work is in progress.

    While modules load, a KeyboardInterrupt can be lost in a destructor, or print a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_handler)


def restore_sigint() -> None:
    """Raise KeyboardInterrupt on Ctrl-C again, after `exit_on_sigint`."""
    if signal.getsignal(signal.SIGINT) is _exit_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class OutputClosed(KeyboardInterrupt):
    """Report that the reader of the output closed the pipe. As after Ctrl-C, no error of a job is recorded."""


class DeferredSigint:
    """Defer Ctrl-C to the next step boundary.

    Python raises KeyboardInterrupt at any point, where a destructor can discard it; imports run many destructors. Use
    this class as a context manager around the work, and call `raise_if_interrupted` between steps. A process that
    ignores Ctrl-C (nohup, a background job of a script) continues to ignore it.
    """

    def __init__(self) -> None:
        self._interrupted = False
        self._exits_at_once = False
        self._previous_handler: Any = None
        self._watcher: _SignalWatcher | None = None

    def __enter__(self) -> "DeferredSigint":
        self._previous_handler = signal.getsignal(signal.SIGINT)
        if self._previous_handler is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_sigint)
            # Windows accepts only sockets. In the worker, a thread calls the handler, see `interrupt_from_client`.
            if process.owns_process() and not process.is_worker() and sys.platform != "win32":
                self._watcher = _SignalWatcher(self._exit_if_idle)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits_at_once = False  # a late call of the watcher does nothing
        if self._watcher is not None:
            self._watcher.close()
        signal.signal(signal.SIGINT, self._previous_handler)

    @property
    def interrupted(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._interrupted

    def set_exit_at_once(self, value: bool) -> None:
        """Set whether Ctrl-C ends the process at once, because no work is in progress, such as during imports.

        The setting has no effect in a process that artgen does not own.
        """
        self._exits_at_once = value and process.owns_process()

    def raise_if_interrupted(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._exits_at_once:
            _exit_at_once()
            return  # the watcher ends the process
        if self._interrupted:
            if sys.__stderr__ and sys.__stderr__.isatty():
                _write_unbuffered(_SHOW_CURSOR)
            process.exit_at_once(EXIT_INTERRUPTED)
            return
        self._interrupted = True
        _write_unbuffered(_STOPPING_MESSAGE)

    def _exit_if_idle(self) -> None:
        if self._exits_at_once:
            _exit_at_once()


class _SignalWatcher:
    """Call a function in a thread when a SIGINT arrives.

    Python runs signal handlers between two instructions of the main thread, so a handler waits for the end of a native
    call, such as the copying of weights. The C part of Python's handler writes to a file descriptor at once.
    """

    def __init__(self, on_sigint: Callable[[], None]) -> None:
        self._on_sigint = on_sigint
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(self._reader,), daemon=True).start()

    def close(self) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writer)

    def _watch(self, reader: int) -> None:
        while signals := os.read(reader, 64):
            if signal.SIGINT in signals:
                self._on_sigint()
        os.close(reader)


def interrupt_from_client() -> None:
    """Act on Ctrl-C in the client of the worker: call the handler that the command has installed.

    The thread that reads from the client calls this function. A KeyboardInterrupt could stop an import and leave a
    damaged module in the worker, so the command ends at once where an ordinary process would raise one.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        from artgen.cli.console import styled

        label = "error: "
        red_label = styled(sys.stderr, label, fg="red", bold=True)
        _exit_at_once(_EXIT_MESSAGE.replace(label.encode(), red_label.encode()))
    elif callable(handler):
        handler(signal.SIGINT, None)


_exit_lock = threading.Lock()


@register_reset
def _allow_exit() -> None:
    global _exit_lock
    _exit_lock = threading.Lock()


def _exit_at_once(message: bytes = _EXIT_MESSAGE) -> None:
    """End the process with one line of text. The handler and the watcher can call this function at the same time."""
    if not _exit_lock.acquire(blocking=False):
        return
    from artgen.system import temporary  # imported already, except in the first milliseconds

    with temporary.own_removed():
        if has_styles(sys.__stderr__):
            _write_unbuffered(_ERASE_LINE + _SHOW_CURSOR)
        _write_unbuffered(message)
        process.exit_at_once(EXIT_INTERRUPTED)


def _exit_handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _write_unbuffered(_EXIT_MESSAGE)
    process.exit_at_once(EXIT_INTERRUPTED)


def _write_unbuffered(text: bytes) -> None:
    # A signal handler must not use Python's stream buffers: the interrupted code may be writing to them.
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text)
