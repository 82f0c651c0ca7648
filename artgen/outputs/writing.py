"""Writing a file so that its final name only ever holds the whole of it.

The bytes go to a temporary file in the same folder, are flushed to the disk, and only then get the final name, by a
hard link: linking fails where the name is taken, so that of many processes exactly one gets it.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import OutputError, RefusedError

TEMPORARY_PREFIX = ".artgen-"
_STALE_SECONDS = 300
_NO_HARDLINK_ERRNOS = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
    errno.EACCES,
}


def atomic_create(path: Path, data: bytes) -> bool:
    """Write a file that must not exist yet; False when the name is taken, also by a dangling link.

    Where the file system has no hard links (exFAT, some network shares), the name is reserved by an empty file that is
    then replaced; only there could a crash in that instant leave an empty file.

    Raises:
        OSError: the file cannot be written; nothing is left under the final name.
    """
    if os.path.lexists(path):
        return False
    with temp_file(path.parent, data) as temporary:
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
    """Write a file, replacing one of that name in a single step.

    Raises:
        OSError: the file cannot be written; what was there is still there.
    """
    with temp_file(path.parent, data) as temporary:
        temporary.replace(path)
    fsync_folder(path.parent)


@contextlib.contextmanager
def temp_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A temporary file that holds these bytes, on the disk; removed at the end, unless it got another name.

    Raises:
        OSError: it cannot be written.
    """
    temporary = _write_temporary(folder, data)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def displace(path: Path) -> Iterator[None]:
    """Takes a file out of the way: for good, or until what is done meanwhile has failed.

    Raises:
        OSError: it cannot be moved.
    """
    aside = temporary_name(path.parent, ".tmp")
    path.replace(aside)
    fsync_folder(path.parent)
    try:
        yield
    except BaseException:
        aside.replace(path)
        raise
    with contextlib.suppress(OSError):
        aside.unlink()


def temporary_name(folder: Path, suffix: str = "") -> Path:
    """A name that nobody else takes, for something unfinished in a folder."""
    return folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}{suffix}"


def write_user_file(path: Path, data: bytes, *, overwrite: bool, hint: str) -> None:
    """Write a file that the user named, and the folders above it.

    Args:
        path: of the file.
        data: all that it holds.
        overwrite: whether a file of that name is replaced.
        hint: what to do where there is one and it is not replaced.

    Raises:
        OutputError: a file of that name is there, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if overwrite:
            atomic_replace(path, data)
        elif not atomic_create(path, data):
            raise OutputError(f"'{path}' exists already.", hint)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def check_writable(folder: Path) -> None:
    """Find out whether files can be made in an existing folder, by making one.

    Raises:
        OSError: they cannot.
    """
    _write_temporary(folder, b"").unlink()


def clean_stale(folder: Path) -> None:
    """Remove temporary files that a killed process left here: unlocked and older than five minutes."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(TEMPORARY_PREFIX) or not entry.name.endswith(".tmp"):
                continue
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and _is_stale(entry):
                    Path(entry.path).unlink()


def _is_stale(entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime < _STALE_SECONDS:
        return False
    handle = os.open(entry.path, os.O_RDWR)
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _write_temporary(folder: Path, data: bytes) -> Path:
    path = temporary_name(folder, ".tmp")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _try_lock(handle)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    os.close(handle)
    return path


def _try_lock(handle: int) -> bool:
    """Lock a file as long as it is open; False if another process has it. True where there are no such locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _reserve_and_replace(temporary: Path, path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    try:
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return True


def fsync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where folders can be flushed."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_folder(folder: Path, root: Path, option_name: str) -> None:
    """Finds out whether files can be made in a folder, or it can be made. Clears what killed processes left there.

    Args:
        folder: it may be missing, and is not made.
        root: the folder that it must not lead out of.
        option_name: what the user typed it after.

    Raises:
        OutputError: a file stands in the way, or nothing can be written there.
        RefusedError: it leads out of `root` through a symbolic link.
    """
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(
            f"'{existing}' is not a folder, so '{folder}' cannot be one", f"Choose another {option_name}."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"the folder '{existing}' may not be written to", f"Choose another {option_name}.")
    check_inside(folder, root)
    try:
        check_writable(existing)
    except OSError as error:
        raise OutputError(
            f"no file can be made in '{existing}': {error.strerror or error}", f"Choose another {option_name}."
        ) from error
    if existing == folder:
        clean_stale(folder)


def check_inside(folder: Path, root: Path) -> None:
    """Holds a folder to the one that it was made from.

    Raises:
        RefusedError: a symbolic link leads out of `root`.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"'{folder}' leads out of '{root}' through a symbolic link")
