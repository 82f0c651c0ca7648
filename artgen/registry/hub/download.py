"""Download one file of the hub into the cache: resume it, verify its hash, rename it.

A partial file is `blobs/ETAG.incomplete`. huggingface_hub 2 uses other names for its partial files, so the
two do not conflict.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from artgen.errors import OutputError
from artgen.registry.hub import cache, client
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.ranges import OnProgress, Source, download_and_verify, file_size, partial_file
from artgen.system.files import nearest_existing, write_atomically

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
                download_and_verify(_source(listing, file), partial_file(blob), on_progress)
                partial_file(blob).replace(blob)
            elif on_progress:
                on_progress(file.name, file.size, file.size)
            _link_into_snapshot(blob, pointer)
    except OSError as error:
        raise _write_error(error, root) from None
    return pointer


def download_files(
    listing: RepoListing,
    files: Iterable[RemoteFile],
    revision: str | None,
    *,
    force: bool,
    on_progress: OnProgress | None,
) -> Path:
    """Download files; write `refs/REVISION` last, so that a ref never points to an incomplete snapshot."""
    files = tuple(files)
    check_disk_space(listing, files)
    for file in files:
        download(listing, file, force=force, on_progress=on_progress)
    root, ref = cache.repository_folder(listing.repo), revision or "main"
    if ref != listing.commit:
        cache.reject_links(root, (root / "refs" / ref).parent)
        write_atomically(root / "refs" / ref, listing.commit)
    return root / "snapshots" / listing.commit


def missing_bytes(listing: RepoListing, files: Iterable[RemoteFile]) -> int:
    """Return the number of bytes of these files that are not in the cache."""
    blobs = {cache.repository_folder(listing.repo) / "blobs" / file.etag: file.size for file in files}
    return sum(max(0, size - max(file_size(blob), file_size(partial_file(blob)))) for blob, size in blobs.items())


def check_disk_space(listing: RepoListing, files: Iterable[RemoteFile]) -> None:
    """Check that the disk of the cache has space for the missing bytes of these files.

    Raises:
        OutputError: the free space is too small.
    """
    needed_bytes = missing_bytes(listing, files)
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
    if size < file.size and not blob.is_symlink() and not os.path.lexists(partial_file(blob)):
        blob.replace(partial_file(blob))
    else:
        blob.unlink()
    return False


def _source(listing: RepoListing, file: RemoteFile) -> Source:
    return Source(
        name=file.name,
        label=f"'{file.name}' of '{listing.repo}'",
        size=file.size,
        server=client.hub_server(),
        open_at=lambda start_byte: client.stream(listing, file, start_byte),
        digest=file.etag,
        compute_digest=lambda path: blob_hash(path, file.is_lfs),
    )


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
