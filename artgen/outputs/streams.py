"""Write to standard output (`-`), to an open descriptor (`/dev/fd/3`) or to a device (`/dev/null`)."""

import errno
import io
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from artgen.errors import OutputError
from artgen.system.files import wrap_write_errors

STDOUT = "-"
"""Name of standard output, and path of an image that was written to it."""

_STDOUT_NAMES = frozenset({STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
_DESCRIPTOR_FOLDERS = ("/dev/fd/", "/proc/self/fd/")
_WRITABLE_DEVICES = frozenset({"/dev/null", "/dev/full", "/dev/zero"})


def find_stream(output: str | None) -> str | None:
    """Return `-` for standard output, the path of another stream or device, or None for a file or a folder.

    Raises:
        OutputError: The output is a pipe with a name, a socket, a terminal or another device.
    """
    if output is None:
        return None
    if output in _STDOUT_NAMES:
        return STDOUT
    if output.startswith(_DESCRIPTOR_FOLDERS) or output in _WRITABLE_DEVICES:
        return output
    reject_special_file(Path(output))
    return None


def reject_special_file(path: Path) -> None:
    """Check that a path is not a pipe, a socket or a device, which must not be replaced by a file.

    Raises:
        OutputError: The path is such a file.
    """
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # the folder is checked later
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OutputError(f"Cannot write to '{path}': it is {kind}.", "Use -o - and redirect standard output.")


def write_stream(stream: str, data: bytes) -> None:
    """Write bytes to standard output (`-`) or to the path of a descriptor or a device.

    Raises:
        OutputError: The stream cannot be written. A pipe that its reader has closed is not an error.
    """
    name = Path("standard output" if stream == STDOUT else stream)
    with wrap_write_errors(name, "Check the target of the redirection."):
        try:
            if stream == STDOUT:
                _write_stdout(data)
                return
            with os.fdopen(os.open(stream, os.O_WRONLY), "wb", buffering=0) as file:
                _write_all(file, data)
        except BrokenPipeError:
            pass


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("Cannot write to standard output: it is closed.", "Run artgen with standard output open.")
    sys.stdout.flush()
    buffer = sys.stdout.buffer
    # Without the buffer, which would keep the data after an error. A program can replace stdout by a stream in memory.
    _write_all(buffer.raw if isinstance(buffer, io.BufferedWriter) else buffer, data)


def _write_all(file: io.RawIOBase | BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = file.write(view)
        if written is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        view = view[written:]
