"""Handle Ctrl-C: exit during startup; afterwards stop at the next step, or exit on the second Ctrl-C."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130

_EXIT_MESSAGE = b"error: Interrupted.\n"
_STOPPING_MESSAGE = b"\nStopping after this step. Press Ctrl-C again to exit now.\n"
_SHOW_CURSOR = b"\x1b[?25h"


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
        self._previous_handler: Any = None

    def __enter__(self) -> "DeferredSigint":
        self._previous_handler = signal.getsignal(signal.SIGINT)
        if self._previous_handler is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_sigint)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous_handler)

    @property
    def interrupted(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._interrupted

    def raise_if_interrupted(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._interrupted:
            if sys.__stderr__ and sys.__stderr__.isatty():
                _write_unbuffered(_SHOW_CURSOR)  # the progress display hides the cursor
            os._exit(EXIT_INTERRUPTED)
        self._interrupted = True
        _write_unbuffered(_STOPPING_MESSAGE)


def _exit_handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _write_unbuffered(_EXIT_MESSAGE)
    os._exit(EXIT_INTERRUPTED)


def _write_unbuffered(text: bytes) -> None:
    # A signal handler must not use Python's stream buffers: the interrupted code may be writing to them.
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text)
