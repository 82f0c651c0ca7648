"""Ctrl-C: leaves quietly while artgen starts; while drawing, the first stops at the next step, the second at once."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

INTERRUPTED = 130

_LEAVING = b"error: Interrupted.\n"
_HEARD = b"\nstopping after this step; Ctrl-C again stops at once\n"
_SHOW_CURSOR = b"\x1b[?25h"


def leave_at_once() -> None:
    """Lets Ctrl-C end the process with one line: where nothing can be half done, as while modules load.

    A KeyboardInterrupt there is lost in a destructor, or becomes a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def raise_again() -> None:
    """Lets Ctrl-C be a KeyboardInterrupt again, after `leave_at_once`."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Interrupts:
    """Hears Ctrl-C and waits for a moment between two steps, where nothing is half done.

    Raising at once, as Python does, is lost when it falls into a destructor, and imports are full of those. A context
    manager around the work; `check` is called between its steps. Who ignores Ctrl-C (nohup, a background job of a
    script) goes on ignoring it.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    @property
    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked

    def check(self) -> None:
        """Raises KeyboardInterrupt once Ctrl-C was pressed."""
        if self._asked:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked:
            if sys.__stderr__ and sys.__stderr__.isatty():
                _say(_SHOW_CURSOR)  # the progress display hides it
            os._exit(INTERRUPTED)
        self._asked = True
        _say(_HEARD)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _say(_LEAVING)
    os._exit(INTERRUPTED)


def _say(text: bytes) -> None:
    # Past Python's buffers, which may be in the middle of something.
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text)
