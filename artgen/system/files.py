"""Convert file errors, and write files and folders atomically.

The data is written to a temporary file in the same folder and flushed to the disk. Then the temporary file gets its
final name in one step. A process that is killed leaves at most a temporary file, which
`artgen.system.temporary.clean_stale` removes.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from artgen.errors import InputFileError, OutputError, UsageError
from artgen.system.temporary import (
    CREATE_FLAGS,
    displace,
    fsync_folder,
    fsync_tree,
    report_name,
    temp_file,
    temp_folder,
)

WRITE_HINT = "Check the path, the permissions and the free disk space."

_NO_HARDLINK_ERRNOS = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
    errno.EACCES,
}
_NAME_TAKEN_ERRNOS = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


class FileIdentity(NamedTuple):
    """Identify the contents of a file without reading them: if all values are equal, the file is unchanged.

    Attributes:
        path: absolute path without symbolic links.
        inode: inode number.
        size: size in bytes.
        mtime_ns: time of the last modification in nanoseconds.
    """

    path: str
    inode: int
    size: int
    mtime_ns: int


def file_identity(path: Path) -> FileIdentity:
    """Return the identity of a file, for the keys of caches. Symbolic links are followed.

    Raises:
        InputFileError: The file is missing or cannot be read.
    """
    with wrap_read_errors(path):
        resolved = path.resolve()
        stat = resolved.stat()
    return FileIdentity(str(resolved), stat.st_ino, stat.st_size, stat.st_mtime_ns)


def missing_file_error(path: Path) -> InputFileError:
    """Return the error to raise for a file that does not exist."""
    hint = "Check the spelling and the folder."
    if str(path).startswith(("http:/", "https:/")):
        hint = "Download the file first."
    elif str(path).startswith("history:"):
        hint = "Use a name such as history:12 or history:last. In a prompt file, use the path of the image."
    return InputFileError(f"'{path}' does not exist.", hint)


def nearest_existing(folder: Path) -> Path:
    """Return a folder, or its nearest parent that exists and is accessible."""
    # Path.exists raises for long names and without permission.
    return next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)  # noqa: PTH110


@contextlib.contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Convert the errors of reading a file that the user named.

    Raises:
        InputFileError: The file is missing or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file_error(path) from error
    except PermissionError as error:
        raise InputFileError(f"Cannot read '{path}': permission denied.", "Check the file's permissions.") from error
    # An unsupported file name raises ValueError. In Python 3.11 and 3.12, a loop of links raises RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputFileError(f"Cannot read '{path}': {reason}.") from error


@contextlib.contextmanager
def wrap_write_errors(path: Path, hint: str = WRITE_HINT) -> Iterator[None]:
    """Convert the errors of writing a file or a folder.

    Raises:
        OutputError: The path cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot write '{path}': {error.strerror or error}.", hint) from error


def write_atomically(path: Path, data: bytes | str, hint: str = WRITE_HINT) -> None:
    """Write a file and its missing parent folders. Readers see the old or the new file, never a part of it.

    Args:
        path: file to create or replace.
        data: content; text is encoded as UTF-8.
        hint: hint of the error.

    Raises:
        UsageError: The text cannot be encoded as UTF-8 (a command-line argument with undecodable bytes).
        OutputError: The folder or the file cannot be written; an existing file is unchanged.
    """
    try:
        content = data.encode("utf-8") if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise UsageError(
            f"Cannot write '{path}': the value is not valid UTF-8.", "Set the terminal to UTF-8 and try again."
        ) from None
    with wrap_write_errors(path, hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_replace(path, content)


def atomic_create(path: Path, data: bytes) -> bool:
    """Write a file that must not exist yet. Return False if the name is taken, also by a dangling symbolic link.

    Raises:
        OSError: The file cannot be written; nothing remains under the final name.
    """
    if os.path.lexists(path):
        return False
    with temp_file(path.parent, data) as temporary:
        report_name(temporary, path)
        return rename_exclusively(temporary, path)


def rename_exclusively(temporary: Path, path: Path) -> bool:
    """Give a complete file in the same file system its final name. Return False if the name is taken.

    A hard link gives the file its final name: linking fails if the name exists, so exactly one of several processes
    succeeds. On a file system without hard links (exFAT, some network shares), an empty file reserves the name and is
    then replaced; only there can a crash leave an empty file. The caller removes the temporary file.

    Raises:
        OSError: The file cannot be renamed; nothing remains under the final name.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARDLINK_ERRNOS:
            raise
        if not _reserve_and_replace(temporary, path):
            return False
    fsync_folder(path.parent)
    return True


def atomic_replace(path: Path, data: bytes) -> None:
    """Write a file. Replace an existing file in one step.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    with temp_file(path.parent, data) as temporary:
        temporary.replace(path)
    fsync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty temporary folder. Afterwards flush its files to the disk and rename the folder to `path`.

    Args:
        path: final name, in an existing folder.
        overwrite: replace what has this name. Otherwise only an empty folder is replaced.

    Raises:
        FileExistsError: The name is taken.
        OSError: The folder cannot be written; an existing folder is unchanged.
    """
    with temp_folder(path.parent) as temporary:
        yield temporary
        fsync_tree(temporary)
        with displace(path) if overwrite and os.path.lexists(path) else contextlib.nullcontext():
            _rename_folder(temporary, path)
    fsync_folder(path.parent)


def _reserve_and_replace(temporary: Path, path: Path) -> bool:
    try:
        os.close(os.open(path, CREATE_FLAGS, 0o666))
    except FileExistsError:
        return False
    report_name(path, path)
    try:
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return True


def _rename_folder(temporary: Path, path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()  # Windows does not rename over an empty folder
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno in _NAME_TAKEN_ERRNOS:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise
