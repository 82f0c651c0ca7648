"""Ctrl-C while drawing: the first stops at the next step and drops the picture, the second leaves at once."""

import os
import signal
import sys
from types import FrameType
from typing import Any

INTERRUPTED = 130

_HEARD = b"\nstopping after this step; Ctrl-C again stops at once\n"
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """Hears Ctrl-C and waits for a moment between two steps, where nothing is half done.

    Raising at once, as Python does, is lost when it falls into a destructor, and imports are full of those. A context
    manager around the work; `check` is called between its steps.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raises KeyboardInterrupt once Ctrl-C was pressed."""
        if self._asked:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        stderr = sys.__stderr__.fileno() if sys.__stderr__ else 2
        if self._asked:
            if os.isatty(stderr):
                os.write(stderr, _SHOW_CURSOR)  # the progress display hides it
            os._exit(INTERRUPTED)
        self._asked = True
        os.write(stderr, _HEARD)
