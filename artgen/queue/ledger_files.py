"""Read new lines of a ledger file, and append lines. Detect that the file was removed or replaced."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from artgen.errors import InputFileError, OutputError
from artgen.queue.ledger_lines import header_line
from artgen.system import process
from artgen.system.counts import counted
from artgen.system.external_data import open_regular

MAX_LINE_BYTES = 1 << 20
"""Longest line that is read. The longest lines contain an error message."""

MAX_LISTED_LINES = 10
"""Maximum number of damaged lines whose numbers a note contains."""

MAX_RECENT_IMAGES = 50
"""Number of the newest images whose times are kept."""

_FIRST_LINE_BYTES = 256

_MAX_ATTEMPTS = 3
"""Number of times that a line is written if the folder is removed at the same time."""


class LedgerReader:
    """Read a ledger file in parts.

    Attributes:
        path: the file.
        times: times of the newest images of the newest run, in the order of the lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first_line: bytes | None = None
        self._forget_lines()

    def _forget_lines(self) -> None:
        self.times: deque[float] = deque(maxlen=MAX_RECENT_IMAGES)
        self._offset = 0
        self._num_lines = 0
        self._damaged: list[int] = []
        self._is_truncated = False

    def new_lines(self) -> Iterator[bytes]:
        """Yield the complete lines since the last call; all lines if the file was replaced, none if it is missing.

        Raises:
            InputFileError: the file cannot be read.
        """
        try:
            with open(self.path, "rb", opener=open_regular) as file:
                if not self.is_current(file.fileno()) or _size(file.fileno()) < self._offset:
                    self._forget_lines()
                    self._first_line = os.pread(file.fileno(), _FIRST_LINE_BYTES, 0).partition(b"\n")[0]
                yield from self._read_lines(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputFileError(
                f"Cannot read '{self.path}': {error.strerror or error}.", "Check the permissions of the file."
            ) from error

    def is_current(self, descriptor: int) -> bool:
        """Return whether an open file is the file that was read. False if nothing was read."""
        first_line = self._first_line
        return first_line is not None and os.pread(descriptor, len(first_line), 0) == first_line

    def _read_lines(self, file: BinaryIO) -> Iterator[bytes]:
        file.seek(self._offset)
        self._is_truncated = False
        while line := file.readline(MAX_LINE_BYTES):
            num_bytes, part = len(line), line
            while not part.endswith(b"\n") and (part := file.readline(MAX_LINE_BYTES)):
                num_bytes += len(part)
            if not part:
                self._is_truncated = True  # a process writes the line now, or was killed
                return
            self._offset += num_bytes
            self._num_lines += 1
            if num_bytes > len(line):
                self.mark_damaged()
            elif line.strip():
                yield line

    def mark_damaged(self) -> None:
        """Count the line that `new_lines` returned last as damaged."""
        self._damaged.append(self._num_lines)

    def damage_note(self) -> str | None:
        """Return a note about the damaged lines, or None. A last line without a line feed is damaged."""
        numbers = [*self._damaged, *([self._num_lines + 1] if self._is_truncated else [])]
        if not numbers:
            return None
        listed = ", ".join(map(str, numbers[:MAX_LISTED_LINES])) + (
            " and others" if len(numbers) > MAX_LISTED_LINES else ""
        )
        lines = "line" if len(numbers) == 1 else "lines"
        return f"Skipped {counted(len(numbers), 'damaged line')} of '{self.path}': {lines} {listed}."


class LedgerWriter:
    """Append lines to a ledger file. The file is opened at the first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def append(self, data: bytes, is_known: Callable[[int], bool], lost_lines: Callable[[], bytes]) -> None:
        """Append lines with one call, and flush them to the disk.

        Args:
            data: lines.
            is_known: returns whether an open file is the expected file.
            lost_lines: returns the lines to write to a file that is not the expected file.

        Raises:
            OutputError: the lines cannot be written.
        """
        process.stop_if_abandoned()
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                self._append(data, is_known, lost_lines)
            except OSError as error:
                self.close()
                if isinstance(error, FileNotFoundError) and attempt < _MAX_ATTEMPTS:
                    continue  # the folder was removed between two calls
                raise OutputError(
                    f"Cannot write '{self._path}': {error.strerror or error}.",
                    "Check the permissions and the free disk space, then run the same command.",
                ) from error
            else:
                return

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, data: bytes, is_known: Callable[[int], bool], lost_lines: Callable[[], bytes]) -> None:
        if self._descriptor is not None and not is_open_file(self._descriptor, self._path):
            self.close()
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = open_regular(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            if not is_known(self._descriptor):
                data = lost_lines() + data
            size = _size(self._descriptor)
            if size == 0:
                data = header_line() + data
            elif os.pread(self._descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data  # a crash truncated the last line
        written = os.write(self._descriptor, data)
        os.fsync(self._descriptor)
        if written != len(data):
            raise OSError("the disk is full")  # the next call begins with a line feed


def is_open_file(descriptor: int, path: Path) -> bool:
    """Return whether a path is still the file of a descriptor. False if the file was removed or replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
