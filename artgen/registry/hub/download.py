"""One file from the hub to its place in the cache: continued where it was cut, proved by its hash, renamed at the end.

A partial file is `blobs/ETAG.incomplete`; the bytes it has are asked for no more, whichever run brought them (an HTTP
range request, RFC 9110, 14.2). huggingface_hub 2 names its own partial files otherwise, so the two do not meet.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from artgen.errors import ModelUnavailableError, OutputError, RefusedError
from artgen.registry.hub import cache, client
from artgen.registry.hub.client import RemoteFile, RepoListing, TransientError

OnProgress = Callable[[str, int, int], None]
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_BLOCK_BYTES = 1 << 20


def download(
    listing: RepoListing, file: RemoteFile, *, force: bool = False, on_progress: OnProgress | None = None
) -> Path:
    """Have a file in the cache, downloading what is missing of it; returns its place in the snapshot.

    A blob of the right length is taken as it is, or with `force` only if its hash is right too.

    Raises:
        RefusedError: what arrived has another hash.
        ModelUnavailableError: the hub cannot be reached, refuses, or ends the file early every time.
        OutputError: the disk is full or the cache cannot be written.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    root = cache.repository_folder(listing.repo)
    blob = root / "blobs" / file.etag
    pointer = root / "snapshots" / listing.commit / PurePosixPath(file.name)
    lock = cache.cache_folder() / ".locks" / root.name / f"{file.etag}.lock"
    try:
        for folder in (blob.parent, pointer.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists() and pointer.is_file() and not pointer.is_symlink():
                pointer.replace(blob)  # a cache without links, as on some Windows systems
            if not _is_valid_blob(blob, file, force):
                _download_and_verify(listing, file, blob, on_progress)
            elif on_progress:
                on_progress(file.name, file.size, file.size)
            _link_into_snapshot(blob, pointer)
    except OSError as problem:
        raise _write_error(problem, root) from None
    return pointer


def missing_bytes(listing: RepoListing, files: tuple[RemoteFile, ...]) -> int:
    """How many bytes of these files are not in the cache yet."""
    total = 0
    for file in {file.etag: file for file in files}.values():
        blob = cache.repository_folder(listing.repo) / "blobs" / file.etag
        partial = blob.with_name(f"{blob.name}.incomplete")
        have = max((p.stat().st_size for p in (blob, partial) if p.is_file()), default=0)
        total += max(0, file.size - have)
    return total


def check_disk_space(needed_bytes: int) -> None:
    """Refuse a download that the disk cannot hold, before it begins.

    Raises:
        OutputError: less free space than needed.
    """
    place = cache.cache_folder()
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed_bytes > free:
        raise OutputError(
            f"The download needs {needed_bytes / 1e9:.1f} GB and the disk of {cache.cache_folder()} has {free / 1e9:.1f} GB left.",
            "Free some space (`artgen models list` shows sizes; `artgen models remove NAME`), or set HF_HOME.",
        )


def _is_valid_blob(blob: Path, file: RemoteFile, force: bool) -> bool:
    """Whether a blob needs no download; a short one becomes the partial file, a wrong one goes away."""
    if not blob.is_file():
        return False
    size = blob.stat().st_size
    if size == file.size and (not force or blob_hash(blob, file.is_lfs) == file.etag):
        return True
    partial = blob.with_name(f"{blob.name}.incomplete")
    if size < file.size and not partial.exists():
        blob.replace(partial)
    else:
        blob.unlink()
    return False


def _download_and_verify(listing: RepoListing, file: RemoteFile, blob: Path, on_progress: OnProgress | None) -> None:
    partial = blob.with_name(f"{blob.name}.incomplete")
    for fresh in (False, True):
        _download_ranges(listing, file, partial, on_progress)
        digest = blob_hash(partial, file.is_lfs)
        if digest == file.etag:
            partial.replace(blob)
            return
        partial.unlink()
        if fresh:
            raise RefusedError(
                f"{file.name} of {listing.repo} arrived with the hash {digest[:10]} and should have {file.etag[:10]}.",
                "It was thrown away. Run the command again; if it stays so, the hub's copy or a proxy is at fault.",
            )


def _download_ranges(listing: RepoListing, file: RemoteFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Fill the partial file to its full length, over as many connections as it takes while each brings something."""
    barren, reason = 0, ""
    while (before := _file_size(partial)) != file.size or not partial.exists():
        if before > file.size:
            partial.unlink()
            continue
        try:
            _download_range(listing, file, partial, before, on_progress)
        except TransientError as cut:
            reason = str(cut)
        gained = _file_size(partial) > before or file.size == 0
        barren = 0 if gained else barren + 1
        if barren >= client.MAX_ATTEMPTS:
            raise _no_progress_error(listing, file, before, reason)
        if _file_size(partial) < file.size:
            client.sleep(0.5 * 2**barren)


def _no_progress_error(
    listing: RepoListing, file: RemoteFile, received_bytes: int, reason: str
) -> ModelUnavailableError:
    error = client.unreachable_error(reason or "it ends the file early")
    said = f"{file.name} of {listing.repo} is truncated: {received_bytes} of {file.size} bytes came. {error.message}"
    return ModelUnavailableError(said if received_bytes else error.message, error.hint)


def _download_range(
    listing: RepoListing, file: RemoteFile, partial: Path, start_byte: int, on_progress: OnProgress | None
) -> None:
    with (
        client.stream(listing, file, start_byte) as (begins, blocks),
        partial.open("r+b" if start_byte else "wb") as out,
    ):
        out.truncate(begins)
        out.seek(begins)
        done = begins
        for block in blocks:
            done += len(block)
            if done > file.size:
                raise TransientError("the hub sent more bytes than it announced")
            out.write(block)
            out.flush()  # what has come is on its way to the disk should the next block never come
            if on_progress:
                on_progress(file.name, done, file.size)


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def blob_hash(path: Path, is_lfs: bool) -> str:
    """The hash that names a blob: SHA-256 of a large file; of a small one git's SHA-1 of `blob SIZE`, NUL, bytes."""
    digest = hashlib.sha256() if is_lfs else hashlib.sha1(b"blob %d\x00" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as data:
        while block := data.read(_READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _link_into_snapshot(blob: Path, pointer: Path) -> None:
    """Put a file into the snapshot: a relative link, or the file itself where links cannot be made."""
    target = os.path.relpath(blob, pointer.parent)
    if pointer.is_symlink() and os.readlink(pointer) == target:  # noqa: PTH115 - compared as text
        return
    with suppress(FileNotFoundError):
        pointer.unlink()
    try:
        pointer.symlink_to(target)
    except OSError:
        blob.replace(pointer)


def _write_error(problem: OSError, root: Path) -> OutputError:
    if problem.errno in DISK_FULL_ERRNOS:
        return OutputError(
            f"The disk of {root.parent} is full.",
            "Free some space and run the command again: what has arrived is kept. HF_HOME moves the cache.",
        )
    return OutputError(f"{root} cannot be written: {problem.strerror or problem}.", "Check its rights, or set HF_HOME.")
