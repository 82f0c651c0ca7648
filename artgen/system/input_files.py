"""Read the files that a user named: regular files, standard input (`-`), pipes, and files in memory."""

import io
import os
import select
import stat
import sys
from pathlib import Path, PurePath
from typing import BinaryIO

from artgen.errors import InputFileError
from artgen.system.command_state import register_reset
from artgen.system.external_data import read_descriptor, read_limited
from artgen.system.files import wrap_read_errors
from artgen.system.memory_file import file_content

STDIN = "-"
"""Name of standard input."""

PROMPT_FILE_SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".yaml", ".yml")
"""Suffixes of prompt files. `artgen.queue.prompt_files` has a parser for each."""

STDIN_SECONDS = 120.0
"""Longest time until standard input sends its first byte. The program that writes it may have to generate an image."""

_FILE_HINT = "Name a file, or write to a pipe: COMMAND | artgen ..."

_pipe_contents: dict[tuple[int, int], bytes] = {}
"""Content of each pipe that was read, by device and inode. A pipe can be read only once."""

_stdin_content: tuple[object, bytes] | None = None
"""Stream and content of standard input after it was read."""

_stdin_error: InputFileError | None = None
"""Error of a previous attempt to read standard input."""


@register_reset
def _forget_inputs() -> None:
    global _stdin_content, _stdin_error
    _stdin_content = _stdin_error = None
    _pipe_contents.clear()


def is_stdin(path: Path | None) -> bool:
    """Return whether a path is `-`."""
    return path is not None and str(path) == STDIN


def input_stem(path: PurePath | str) -> str:
    """Return the stem of an input file for the names of outputs: `stdin` for `-`, else without folders and suffix."""
    return "stdin" if str(path) == STDIN else PurePath(path).stem


def empty_input_error(path: Path, hint: str) -> InputFileError:
    """Return the error for an input without data.

    Args:
        path: the input.
        hint: hint for a file.
    """
    if is_stdin(path):
        return InputFileError("Cannot read standard input: it is empty.", _FILE_HINT)
    return InputFileError(f"'{path}' is empty.", hint)


def is_regular_file(path: Path) -> bool:
    """Return whether a path exists and is a regular file.

    Raises:
        InputFileError: the path is missing or cannot be read, or is a folder, a device or a socket.
    """
    if is_stdin(path) or file_content(path) is not None:
        return False
    with wrap_read_errors(path):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputFileError(f"'{path}' is a folder, not a file.", "Use a file in the folder.")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "a socket" if stat.S_ISSOCK(mode) else "a terminal" if _is_terminal(path) else "a device"
        raise InputFileError(f"'{path}' is {kind}, not a file or a pipe.", _FILE_HINT)
    return stat.S_ISREG(mode)


def read_input(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file, of a file in memory, of a pipe, or of standard input if the path is `-`.

    A pipe and standard input are read once per process, and their content is kept.

    Raises:
        InputFileError: the path cannot be read (see `is_regular_file`), has more than `max_bytes`, or is a pipe that
            sends no data in the time limits.
    """
    if is_stdin(path):
        return read_stdin(max_bytes)
    if (content := file_content(path)) is not None:
        return content
    if is_regular_file(path):
        return read_limited(path, max_bytes)
    with wrap_read_errors(path):
        status = path.stat()
    key = status.st_dev, status.st_ino
    if key not in _pipe_contents:
        _pipe_contents[key] = read_limited(path, max_bytes)
    return _pipe_contents[key]


def open_input(path: Path, max_bytes: int) -> BinaryIO:
    """Return an open file, or the content of a pipe or of standard input as a file. The arguments and errors are those
    of `read_input`; the size of a regular file is not limited.
    """
    if is_regular_file(path):
        with wrap_read_errors(path):
            return path.open("rb")
    return io.BytesIO(read_input(path, max_bytes))


def read_stdin(max_bytes: int) -> bytes:
    """Return the content of standard input. It is read once per process.

    Raises:
        InputFileError: standard input is closed or a terminal, has more than `max_bytes`, or sends no data in the time
            limits.
    """
    global _stdin_content
    if _stdin_error is not None:
        raise _stdin_error
    if _stdin_content is None or _stdin_content[0] is not sys.stdin:
        _stdin_content = sys.stdin, _read_stdin(max_bytes)
    return _stdin_content[1]


def fail_stdin(error: InputFileError) -> None:
    """Let `read_stdin` raise an error: this process has already waited for standard input."""
    global _stdin_error
    _stdin_error = error


def _read_stdin(max_bytes: int) -> bytes:
    if sys.stdin is None:
        raise InputFileError("Cannot read standard input: it is closed.", _FILE_HINT)
    if sys.stdin.isatty():
        raise InputFileError("Cannot read standard input: it is a terminal.", _FILE_HINT)
    try:
        descriptor = sys.stdin.fileno()
    except OSError:  # a program has replaced the stream
        return sys.stdin.buffer.read(max_bytes + 1)
    with wrap_read_errors(Path("standard input")):
        status = os.fstat(descriptor)
        if stat.S_ISFIFO(status.st_mode):
            wait_for_first_byte(descriptor)
        content = read_descriptor(descriptor, "standard input", max_bytes)
    _pipe_contents[status.st_dev, status.st_ino] = content  # for `/dev/stdin`
    return content


def wait_for_first_byte(descriptor: int) -> None:
    """Wait until a pipe has data or is closed.

    Raises:
        InputFileError: the pipe sends no data for `STDIN_SECONDS`.
    """
    if not select.select([descriptor], [], [], STDIN_SECONDS)[0]:
        raise InputFileError(
            f"Cannot read standard input: it sent no data for {STDIN_SECONDS:g} seconds.", "Save the data to a file."
        )


def _is_terminal(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)
