"""Read stdin before the worker runs the command.

The worker then does not wait for another program, which can be a command that waits for the same worker. After a crash
of the worker, the second attempt has the same input.
"""

import os
import stat
from collections.abc import Sequence

_NAMES = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})

MAX_STORED_BYTES = 1 << 30
"""More than artgen reads from stdin for any command. The command refuses longer data."""

_CHUNK_BYTES = 1 << 20


def is_pipe(path: str) -> bool:
    """Return whether a path is a pipe. A command that reads it runs in an ordinary process."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 - pathlib would cost start-up time
    except (OSError, ValueError):
        return False


def is_read(arguments: Sequence[str]) -> bool:
    """Return whether a command can read stdin: an argument names stdin and is not the value of `--output`."""
    return any(
        _value(argument) in _NAMES and not _is_output(previous) and not _is_output(_option(argument))
        for previous, argument in zip(("", *arguments), arguments, strict=False)
    )


def _is_output(option: str) -> bool:
    """Return whether the value of an option such as `-o` or `-qo` is the output."""
    return option == "--output" or (option.startswith("-") and option[1:].isalpha() and option.endswith("o"))


def _option(argument: str) -> str:
    """Return the option of `--image=-` or `-i-`; empty for other arguments."""
    if argument.startswith("--"):
        return argument.partition("=")[0]
    return argument[:2] if argument.startswith("-") and len(argument) > 2 else ""


def _value(argument: str) -> str:
    return argument.removeprefix(_option(argument)).removeprefix("=")


def store() -> bool:
    """Replace a pipe as descriptor 0 by a file in memory with the data of the pipe.

    Returns:
        Whether the command can run in the worker. If the pipe sends no data, the command reports this in this process.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # stdin is closed
        return True
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return True
    from artgen.errors import InputFileError
    from artgen.system import external_data, input_files

    file = _create_file()
    try:
        if stat.S_ISFIFO(mode):
            input_files.wait_for_first_byte(0)
        wait = external_data.pipe_waiter(0, "standard input")
        size = 0
        while wait() and size <= MAX_STORED_BYTES:
            try:
                chunk = os.read(0, _CHUNK_BYTES)
            except BlockingIOError:  # another process read the data first
                continue
            if not chunk:
                break
            os.write(file, chunk)
            size += len(chunk)
    except InputFileError as error:
        input_files.fail_stdin(error)
        return False
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    os.close(file)
    return True


def _create_file() -> int:
    """Return the descriptor of a file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stdin")
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108
    return descriptor


def position() -> int | None:
    """Return the position in stdin if it is a file, None for a terminal and if stdin is closed."""
    try:
        return os.lseek(0, 0, os.SEEK_CUR)
    except OSError:
        return None


def rewind(start: int | None) -> None:
    """Return to a position of `position`."""
    if start is not None:
        os.lseek(0, start, os.SEEK_SET)
