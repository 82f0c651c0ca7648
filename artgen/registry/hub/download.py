"""Download one file of the hub into the cache: resume it, verify its hash, rename it.

A partial file is `blobs/ETAG.incomplete`. A later run requests only the missing bytes (HTTP range request, RFC 9110,
section 14.2). huggingface_hub 2 uses other names for its partial files, so the two do not conflict.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from artgen.errors import OutputError, RefusedError
from artgen.registry.hub import cache, client
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.transfer import TransientError
from artgen.system.counts import counted
from artgen.system.files import nearest_existing
from artgen.system.temporary import NOFOLLOW

OnProgress = Callable[[str, int, int], None]
MIN_PROGRESS_BYTES = 1 << 16
"""Smallest number of new bytes of a connection that counts as progress."""
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def download(
    listing: RepoListing, file: RemoteFile, *, force: bool = False, on_progress: OnProgress | None = None
) -> Path:
    """Download the missing part of a file into the cache; return its path in the snapshot.

    A blob of the right length is not downloaded again; with `force`, its hash must be right too.

    Raises:
        RefusedError: the downloaded file has another hash, or a folder or a file of the cache is a symbolic link.
        ModelUnavailableError: the hub cannot be reached, denies access, or ends the file early each time.
        OutputError: the disk is full or the cache cannot be written.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    root = cache.repository_folder(listing.repo)
    blob = root / "blobs" / file.etag
    pointer = root / "snapshots" / listing.commit / PurePosixPath(file.name)
    lock = cache.locks_folder(listing.repo) / f"{file.etag}.lock"
    for path in (blob.parent, pointer.parent):
        cache.reject_links(root, path)
    cache.reject_links(cache.cache_folder(), lock)
    try:
        for folder in (blob.parent, pointer.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists() and pointer.is_file() and not pointer.is_symlink():
                pointer.replace(blob)  # a cache without symbolic links, as on some Windows systems
            if not _is_valid_blob(blob, file, force):
                _download_and_verify(listing, file, blob, on_progress)
            elif on_progress:
                on_progress(file.name, file.size, file.size)
            _link_into_snapshot(blob, pointer)
    except OSError as error:
        raise _write_error(error, root) from None
    return pointer


def check_disk_space(listing: RepoListing, files: Iterable[RemoteFile]) -> None:
    """Check that the disk of the cache has space for the missing bytes of these files.

    Raises:
        OutputError: the free space is too small.
    """
    blobs = {cache.repository_folder(listing.repo) / "blobs" / file.etag: file.size for file in files}
    needed_bytes = sum(
        max(0, size - max(_file_size(blob), _file_size(_partial_file(blob)))) for blob, size in blobs.items()
    )
    folder = cache.cache_folder()
    try:
        free_bytes = shutil.disk_usage(nearest_existing(folder)).free
    except OSError as error:
        raise _write_error(error, folder) from None
    if needed_bytes > free_bytes:
        raise OutputError(
            f"Cannot download: the download needs {needed_bytes / 1e9:.1f} GB, and the disk of '{folder}' has "
            f"{free_bytes / 1e9:.1f} GB left.",
            "Free some space (`artgen models list` shows sizes; `artgen models remove NAME`), or set HF_HOME.",
        )


def _is_valid_blob(blob: Path, file: RemoteFile, force: bool) -> bool:
    """Return whether a blob needs no download; a short blob becomes the partial file, a wrong one is deleted."""
    if not blob.is_file():
        return False
    size = blob.stat().st_size  # huggingface_hub can store a blob as a link to a store of the cache
    if size == file.size and (not force or blob_hash(blob, file.is_lfs) == file.etag):
        return True
    if size < file.size and not blob.is_symlink() and not os.path.lexists(_partial_file(blob)):
        blob.replace(_partial_file(blob))
    else:
        blob.unlink()
    return False


def _download_and_verify(listing: RepoListing, file: RemoteFile, blob: Path, on_progress: OnProgress | None) -> None:
    partial = _partial_file(blob)
    for _ in range(2):  # the first bytes can be damaged bytes of an earlier run
        _download_ranges(listing, file, partial, on_progress)
        digest = blob_hash(partial, file.is_lfs)
        if digest == file.etag:
            partial.replace(blob)
            return
        partial.unlink()
    raise RefusedError(
        f"'{file.name}' of '{listing.repo}' has the wrong hash: {digest[:10]} instead of {file.etag[:10]}.",
        "The downloaded file was deleted. Run the command again. If the error persists, the file on the hub or a proxy "
        "is damaged.",
    )


def _download_ranges(listing: RepoListing, file: RemoteFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Download until the partial file is complete; `client.retry` limits the attempts without progress."""

    def describe() -> str:
        if not (received_bytes := _file_size(partial)):
            return ""
        counts = f"received {received_bytes:,} of {counted(file.size, 'byte')}"
        return f"'{file.name}' of '{listing.repo}' is truncated: {counts}."

    while (received_bytes := _file_size(partial)) != file.size or not os.path.lexists(partial):
        if received_bytes > file.size:
            partial.unlink()
            continue
        client.retry(lambda: _download_range(listing, file, partial, on_progress), describe)


def _download_range(listing: RepoListing, file: RemoteFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Append to the partial file until the connection ends.

    Raises:
        TransientError: less than `MIN_PROGRESS_BYTES` were received, and the file is not complete.
    """
    start_byte, reason = _file_size(partial), "it ends the file early"
    try:
        with (
            client.stream(listing, file, start_byte) as (received_bytes, blocks),
            _open_partial(partial) as out,
        ):
            out.truncate(received_bytes)
            out.seek(received_bytes)
            for block in blocks:
                received_bytes += len(block)
                if received_bytes > file.size:
                    raise TransientError("the hub sent more bytes than it announced")
                out.write(block)
                out.flush()  # a killed process loses no received byte
                if on_progress:
                    on_progress(file.name, received_bytes, file.size)
    except TransientError as error:
        reason = str(error)
    size = _file_size(partial)
    if size != file.size and size < start_byte + MIN_PROGRESS_BYTES:
        raise TransientError(reason)


def _partial_file(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _open_partial(partial: Path) -> BinaryIO:
    """Open a partial file for writing; never follow a symbolic link or write to a device.

    Raises:
        RefusedError: the file is a link or not a regular file.
        OSError: the file cannot be opened.
    """
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | NOFOLLOW | getattr(os, "O_BINARY", 0), 0o666)
    except OSError:
        cache.reject_links(partial.parent, partial)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError(f"Cannot write to '{partial}': it is not a regular file.", "Delete it.")
    return os.fdopen(descriptor, "r+b")


def _file_size(path: Path) -> int:
    """Return the size of a regular file; 0 for a missing file and for a symbolic link."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def blob_hash(path: Path, is_lfs: bool) -> str:
    """Return the hash that is a blob's name: SHA-256 with Git LFS, else git's SHA-1 of `blob SIZE`, NUL, bytes."""
    start = b"" if is_lfs else b"blob %d\0" % path.stat().st_size
    digest = hashlib.sha256() if is_lfs else hashlib.sha1(start, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def _link_into_snapshot(blob: Path, pointer: Path) -> None:
    """Link a blob into the snapshot; move it there if the file system has no symbolic links."""
    target = os.path.relpath(blob, pointer.parent)
    if pointer.is_symlink() and str(pointer.readlink()) == target:
        return
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(target)
    except OSError:
        blob.replace(pointer)


def _write_error(error: OSError, root: Path) -> OutputError:
    if error.errno in DISK_FULL_ERRNOS:
        hint = "Free some space and run the command again; it resumes the download. HF_HOME moves the cache."
        return OutputError(f"Cannot write '{root}': the disk is full.", hint)
    return OutputError(
        f"Cannot write '{root}': {error.strerror or error}.", "Check the folder's permissions, or set HF_HOME."
    )
