"""Show what is loading in one line of stderr, until rich is imported or the command ends.

The line appears if a command takes longer than `DELAY_SECONDS`, so that help and errors show nothing. On a terminal
it is rewritten; with NO_COLOR, TERM=dumb or a pipe, one line is printed before torch is imported.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from artgen.system import process
from artgen.system.command_state import register_reset
from artgen.system.counts import format_duration
from artgen.system.terminal import has_styles

DELAY_SECONDS = 0.15
"""Time since the start of the process before the line appears."""

REFRESH_SECONDS = 0.5

LIBRARIES = ("torch", "transformers", "diffusers")
"""Libraries whose import takes seconds, in the order of their imports."""

_ERASE_LINE = "\r\x1b[2K"


class StatusLine:
    """Show the current stage, the elapsed time and the estimated remaining time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closing: threading.Event | None = None
        self.reset()

    def reset(self) -> None:
        """Remove the line, and start again for the next command. Libraries that are imported already are not shown."""
        self.close()
        self._observer = _ImportObserver(self)
        self._stage = "Starting"
        self._is_visible = False
        self._expected_seconds: float | None = None
        self._shows_imports = True

    def hide_imports(self) -> None:
        """Do not show libraries for the rest of this command: it looks for torch, but does not import it."""
        self._shows_imports = False

    @property
    def is_active(self) -> bool:
        """Return whether the line is shown or will be shown."""
        return self._closing is not None

    def start(self) -> None:
        """Show the line from now on. Do nothing in a process that artgen does not own, or if stderr is closed."""
        if self.is_active or not process.owns_process() or sys.stderr is None:
            return
        self._closing = threading.Event()
        sys.meta_path.insert(0, self._observer)
        if has_styles(sys.stderr):
            threading.Thread(target=self._refresh, args=(self._closing,), daemon=True).start()

    def set_expected_seconds(self, seconds: float | None) -> None:
        """Set the expected duration of the whole command; None if it is unknown."""
        self._expected_seconds = seconds

    @property
    def remaining_seconds(self) -> float | None:
        """Return the estimated seconds to the end of the command; None if they are unknown."""
        if self._expected_seconds is None:
            return None
        remaining = self._expected_seconds - process.elapsed_seconds()
        return remaining if remaining > 0 else None

    def show_import(self, library: str) -> None:
        """Show the library that is being imported. Without styles, print the line for the first library."""
        with self._lock:
            if not self.is_active or not self._shows_imports:
                return
            if has_styles(sys.stderr):
                self._stage = f"Loading {library}"
                self._draw()
            elif library == LIBRARIES[0]:
                seconds = self.remaining_seconds
                left = f" About {format_duration(seconds)} left." if seconds else ""
                _write(f"Loading {', '.join(LIBRARIES[:-1])} and {LIBRARIES[-1]}.{left}\n")

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line while the block prints, and show it again afterwards."""
        with self._lock:
            was_visible = self._is_visible
            self._erase()
            yield
            if was_visible and self.is_active:
                self._draw()

    def close(self) -> None:
        """Remove the line."""
        with self._lock:
            if self._closing is None:
                return
            self._closing.set()
            self._closing = None
            sys.meta_path.remove(self._observer)
            self._erase()

    def _refresh(self, closing: threading.Event) -> None:
        closing.wait(max(0.0, DELAY_SECONDS - process.elapsed_seconds()))
        while True:
            with self._lock:
                if closing.is_set():
                    return
                self._draw()
            closing.wait(REFRESH_SECONDS)

    def _draw(self) -> None:
        elapsed = process.elapsed_seconds()
        times = [format_duration(elapsed)] if elapsed >= 1 else []
        if self.remaining_seconds:
            times.append(f"about {format_duration(self.remaining_seconds)} left")
        text = f"{self._stage} ({', '.join(times)})" if times else self._stage
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            columns = 80
        self._is_visible = True
        _write(f"{_ERASE_LINE}{text[: max(1, columns - 1)]}")

    def _erase(self) -> None:
        if self._is_visible:
            self._is_visible = False
            _write(_ERASE_LINE)


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed
        sys.stderr.write(text)
        sys.stderr.flush()


class _ImportObserver:
    """Report the imports of `LIBRARIES` to a status line. This entry of `sys.meta_path` finds no module itself."""

    def __init__(self, status: StatusLine) -> None:
        self._status = status
        self._next = sum(library in sys.modules for library in LIBRARIES)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:  # noqa: ARG002
        if self._next == len(LIBRARIES):
            return
        library = fullname.partition(".")[0]
        # transformers imports torch; most of its modules are found afterwards.
        is_imported = self._next == 0 or LIBRARIES[self._next - 1] in sys.modules
        if library == LIBRARIES[self._next] and is_imported:
            self._next += 1
            self._status.show_import(library)


status_line = StatusLine()
"""The line of this process."""

register_reset(status_line.reset)
