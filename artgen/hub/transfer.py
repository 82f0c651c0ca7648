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
from artgen.hub import cache, client
from artgen.hub.client import Cut, Listing, RemoteFile

OnProgress = Callable[[str, int, int], None]
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BLOCK = 1 << 20


def fetch(listing: Listing, file: RemoteFile, *, force: bool = False, on_progress: OnProgress | None = None) -> Path:
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
    lock = cache.folder() / ".locks" / root.name / f"{file.etag}.lock"
    try:
        for folder in (blob.parent, pointer.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists() and pointer.is_file() and not pointer.is_symlink():
                pointer.replace(blob)  # a cache without links, as on some Windows systems
            if not _is_right(blob, file, force):
                _download(listing, file, blob, on_progress)
            elif on_progress:
                on_progress(file.name, file.size, file.size)
            _link(blob, pointer)
    except OSError as problem:
        raise _unwritable(problem, root) from None
    return pointer


def missing_bytes(listing: Listing, files: tuple[RemoteFile, ...]) -> int:
    """How many bytes of these files are not in the cache yet."""
    total = 0
    for file in {file.etag: file for file in files}.values():
        blob = cache.repository_folder(listing.repo) / "blobs" / file.etag
        partial = blob.with_name(f"{blob.name}.incomplete")
        have = max((p.stat().st_size for p in (blob, partial) if p.is_file()), default=0)
        total += max(0, file.size - have)
    return total


def check_space(needed: int) -> None:
    """Refuse a download that the disk cannot hold, before it begins.

    Raises:
        OutputError: less free space than needed.
    """
    place = cache.folder()
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OutputError(
            f"The download needs {needed / 1e9:.1f} GB and the disk of {cache.folder()} has {free / 1e9:.1f} GB left.",
            "Free some space (`artgen models list` shows sizes; `artgen models remove NAME`), or set HF_HOME.",
        )


def _is_right(blob: Path, file: RemoteFile, force: bool) -> bool:
    """Whether a blob needs no download; a short one becomes the partial file, a wrong one goes away."""
    if not blob.is_file():
        return False
    size = blob.stat().st_size
    if size == file.size and (not force or hash_file(blob, file.large) == file.etag):
        return True
    partial = blob.with_name(f"{blob.name}.incomplete")
    if size < file.size and not partial.exists():
        blob.replace(partial)
    else:
        blob.unlink()
    return False


def _download(listing: Listing, file: RemoteFile, blob: Path, on_progress: OnProgress | None) -> None:
    partial = blob.with_name(f"{blob.name}.incomplete")
    for fresh in (False, True):
        _receive_all(listing, file, partial, on_progress)
        digest = hash_file(partial, file.large)
        if digest == file.etag:
            partial.replace(blob)
            return
        partial.unlink()
        if fresh:
            raise RefusedError(
                f"{file.name} of {listing.repo} arrived with the hash {digest[:10]} and should have {file.etag[:10]}.",
                "It was thrown away. Run the command again; if it stays so, the hub's copy or a proxy is at fault.",
            )


def _receive_all(listing: Listing, file: RemoteFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Fill the partial file to its full length, over as many connections as it takes while each brings something."""
    barren, reason = 0, ""
    while (before := _length(partial)) != file.size or not partial.exists():
        if before > file.size:
            partial.unlink()
            continue
        try:
            _receive(listing, file, partial, before, on_progress)
        except Cut as cut:
            reason = str(cut)
        gained = _length(partial) > before or file.size == 0
        barren = 0 if gained else barren + 1
        if barren >= client.ATTEMPTS:
            raise _stuck(listing, file, before, reason)
        if _length(partial) < file.size:
            client.pause(0.5 * 2**barren)


def _stuck(listing: Listing, file: RemoteFile, have: int, reason: str) -> ModelUnavailableError:
    error = client.unreachable(reason or "it ends the file early")
    said = f"{file.name} of {listing.repo} is truncated: {have} of {file.size} bytes came. {error.message}"
    return ModelUnavailableError(said if have else error.message, error.hint)


def _receive(listing: Listing, file: RemoteFile, partial: Path, start: int, on_progress: OnProgress | None) -> None:
    with client.stream(listing, file, start) as (begins, blocks), partial.open("r+b" if start else "wb") as out:
        out.truncate(begins)
        out.seek(begins)
        done = begins
        for block in blocks:
            done += len(block)
            if done > file.size:
                raise Cut("the hub sent more bytes than it announced")
            out.write(block)
            out.flush()  # what has come is on its way to the disk should the next block never come
            if on_progress:
                on_progress(file.name, done, file.size)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def hash_file(path: Path, large: bool) -> str:
    """The hash that names a blob: SHA-256 of a large file; of a small one git's SHA-1 of `blob SIZE`, NUL, bytes."""
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\x00" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _link(blob: Path, pointer: Path) -> None:
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


def _unwritable(problem: OSError, root: Path) -> OutputError:
    if problem.errno in FULL:
        return OutputError(
            f"The disk of {root.parent} is full.",
            "Free some space and run the command again: what has arrived is kept. HF_HOME moves the cache.",
        )
    return OutputError(f"{root} cannot be written: {problem.strerror or problem}.", "Check its rights, or set HF_HOME.")
