"""Follow the progress of a command in the worker, and prepare this process to continue the command after a crash."""

import contextlib
import io
import os
import sys
from collections import deque
from typing import Any

from artgen.system.attempt import FirstAttempt

_MAX_TEMPORARY_PATHS = 64
"""More temporary files than a command has at the same time."""


class Progress:
    """Collect the reports of the worker about one command.

    Attributes:
        first: reports that the second attempt needs.
        has_started: whether the worker started the command.
        is_interrupted: whether the user pressed Ctrl-C.
    """

    def __init__(self, entropy: int) -> None:
        self.first = FirstAttempt(entropy)
        self.has_started = self.is_interrupted = False
        self._temporary_paths: deque[str] = deque(maxlen=_MAX_TEMPORARY_PATHS)
        self._displaced_paths: dict[str, str] = {}
        self._saving: int | None = None
        self._named_files: dict[int | None, list[tuple[str, int, int]]] = {}

    def update(self, message: dict[str, Any]) -> None:
        """Apply a message of the worker. Messages about other subjects are ignored."""
        match message:
            case {"type": "started"}:
                self.has_started = True
            case {"type": "plan", "numbers": list(numbers)}:
                self.first.plan, self.first.results, self.first.saved = numbers, {}, {}
            case {"type": "saving", "number": int(number)}:
                self._saving = number
            case {"type": "saved", "number": int(number)}:
                self.first.saved[number] = message
            case {"type": "result", "number": int(number)}:
                self.first.results[number] = message
                self.first.saved.pop(number, None)
                self._named_files.pop(number, None)
                self.first.printed_bytes = 0
            case {"type": "temporary", "path": str(path)}:
                self._temporary_paths.append(path)
            case {"type": "displaced", "temporary": str(temporary), "path": str(path)}:
                self._displaced_paths = {temporary: path}
            case {"type": "named", "path": str(path), "device": int(device), "inode": int(inode)}:
                self._named_files.setdefault(self._saving, []).append((path, device, inode))

    def write(self, data: bytes) -> int:
        """Write data to stdout. Return 0, or the number of the error."""
        view = memoryview(data)
        while view:
            try:
                written = os.write(1, view)
            except OSError as error:
                return error.errno or 0
            view = view[written:]
            self.first.printed_bytes += written
        return 0

    def remove_incomplete(self) -> None:
        """Remove the temporary files of the worker and the files of incomplete results. Restore displaced files."""
        for temporary, path in self._displaced_paths.items():
            if not os.path.lexists(path):
                with contextlib.suppress(OSError):
                    os.rename(temporary, path)  # noqa: PTH104 - pathlib would cost start-up time
        for temporary in self._temporary_paths:
            _remove(temporary)
        for number, files in self._named_files.items():
            # The image of a job of a batch gets its name last.
            if number not in self.first.saved or not _is_file(*files[-1]):
                for path, device, inode in files:
                    if _is_file(path, device, inode):
                        _remove(path)


class _RemainingStdout(io.FileIO):
    """Write to stdout without the bytes that the first attempt has written."""

    def __init__(self, printed_bytes: int) -> None:
        super().__init__(1, "w", closefd=False)
        self._printed_bytes = printed_bytes

    def write(self, data: Any, /) -> int:
        if not self._printed_bytes:
            return super().write(data)
        skipped = min(self._printed_bytes, len(data))
        self._printed_bytes -= skipped
        return skipped


def remaining_stdout(printed_bytes: int) -> io.TextIOWrapper:
    """Return stdout for the second attempt, which prints the same lines. Omit the first `printed_bytes` bytes."""
    return io.TextIOWrapper(
        io.BufferedWriter(_RemainingStdout(printed_bytes)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=bool(sys.stdout.line_buffering),
    )


def _is_file(path: str, device: int, inode: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108
