"""Files that cannot be read, and small text files that are written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import InputFileError, OutputError, UsageError


def missing_file_error(path: Path) -> InputFileError:
    """The error to raise for a file that does not exist."""
    return InputFileError(f"'{path}' does not exist", "Check the spelling and the folder.")


@contextlib.contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Around the reading of a file that a user named.

    Raises:
        InputFileError: it is missing or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file_error(path) from error
    except PermissionError as error:
        raise InputFileError(f"'{path}' may not be read: permission denied", "Check the file's permissions.") from error
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputFileError(f"'{path}' cannot be read: {said}") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that readers see the old or the new one, never half of it.

    Raises:
        UsageError: the text is not valid UTF-8 (an argument with bytes that are no text).
        OutputError: the folder or the file cannot be written; nothing is left behind.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{path} takes valid UTF-8 only, and the value is not.", "Set the terminal to UTF-8 and try again."
        ) from None
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException as problem:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise OutputError(
                f"{path} cannot be written: {problem.strerror or problem}.", "Check the path and the folder's rights."
            ) from None
        raise
