"""Download one file of the hub into the cache: resume it, verify its hash, rename it.

A partial file is `blobs/ETAG.incomplete`. A later run requests only the missing bytes (HTTP range request, RFC 9110,
section 14.2). huggingface_hub 2 uses other names for its partial files, so the two do not conflict.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from artgen.errors import OutputError, RefusedError
from artgen.registry.hub import cache, client
from artgen.registry.hub.client import RemoteFile, RepoListing, TransientError
from artgen.system.counts import counted

OnProgress = Callable[[str, int, int], None]
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def download(
    listing: RepoListing, file: RemoteFile, *, force: bool = False, on_progress: OnProgress | None = None
) -> Path:
    """Download the missing part of a file into the cache; return its path in the snapshot.

    A blob of the right length is not downloaded again; with `force`, its hash must be right too.

    Raises:
        RefusedError: the downloaded file has another hash.
        ModelUnavailableError: the hub cannot be reached, denies access, or ends the file early each time.
        OutputError: the disk is full or the cache cannot be written.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    root = cache.repository_folder(listing.repo)
    blob = root / "blobs" / file.etag
    pointer = root / "snapshots" / listing.commit / PurePosixPath(file.name)
    lock = cache.locks_folder(listing.repo) / f"{file.etag}.lock"
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
    free_bytes = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
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
    size = _file_size(blob)
    if size == file.size and (not force or blob_hash(blob, file.is_lfs) == file.etag):
        return True
    if size < file.size and not _partial_file(blob).exists():
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
    """Download until the partial file is complete; `client.retry` limits the attempts without a new byte."""
    while (received_bytes := _file_size(partial)) != file.size or not partial.exists():
        if received_bytes > file.size:
            partial.unlink()
            continue
        counts = f"received {received_bytes:,} of {counted(file.size, 'byte')}"
        truncated = f"'{file.name}' of '{listing.repo}' is truncated: {counts}."
        client.retry(lambda: _download_range(listing, file, partial, on_progress), truncated if received_bytes else "")


def _download_range(listing: RepoListing, file: RemoteFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Append to the partial file until the connection ends.

    Raises:
        TransientError: no new byte was received.
    """
    start_byte, reason = _file_size(partial), "it ends the file early"
    try:
        with (
            client.stream(listing, file, start_byte) as (received_bytes, blocks),
            partial.open("r+b" if start_byte else "wb") as out,
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
    if _file_size(partial) <= start_byte and file.size:
        raise TransientError(reason)


def _partial_file(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


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
