"""Ctrl-C: leaves quietly while artgen starts; while drawing, the first stops at the next step, the second at once."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130

_EXIT_MESSAGE = b"error: Interrupted.\n"
_STOPPING_MESSAGE = b"\nstopping after this step; Ctrl-C again stops at once\n"
_SHOW_CURSOR = b"\x1b[?25h"


def exit_on_sigint() -> None:
    """Lets Ctrl-C end the process with one line: where nothing can be half done, as while modules load.

    A KeyboardInterrupt there is lost in a destructor, or becomes a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_handler)


def restore_sigint() -> None:
    """Lets Ctrl-C be a KeyboardInterrupt again, after `leave_at_once`."""
    if signal.getsignal(signal.SIGINT) is _exit_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class DeferredSigint:
    """Hears Ctrl-C and waits for a moment between two steps, where nothing is half done.

    Raising at once, as Python does, is lost when it falls into a destructor, and imports are full of those. A context
    manager around the work; `raise_if_interrupted` is called between its steps. Who ignores Ctrl-C (nohup, a background job of a
    script) goes on ignoring it.
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
        """Whether Ctrl-C was pressed."""
        return self._interrupted

    def raise_if_interrupted(self) -> None:
        """Raises KeyboardInterrupt once Ctrl-C was pressed."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._interrupted:
            if sys.__stderr__ and sys.__stderr__.isatty():
                _write_unbuffered(_SHOW_CURSOR)  # the progress display hides it
            os._exit(EXIT_INTERRUPTED)
        self._interrupted = True
        _write_unbuffered(_STOPPING_MESSAGE)


def _exit_handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _write_unbuffered(_EXIT_MESSAGE)
    os._exit(EXIT_INTERRUPTED)


def _write_unbuffered(text: bytes) -> None:
    # Past Python's buffers, which may be in the middle of something.
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text)
