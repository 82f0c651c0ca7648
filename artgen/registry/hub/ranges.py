"""Download a file into a partial file, in several connections and runs if necessary, and check its hash.

A later run requests only the missing bytes (HTTP range request, RFC 9110, section 14.2).
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artgen.errors import RefusedError
from artgen.registry.hub import cache, client
from artgen.registry.hub.transfer import Server, TransientError
from artgen.system.counts import counted
from artgen.system.temporary import NOFOLLOW

OnProgress = Callable[[str, int, int], None]
MIN_PROGRESS_BYTES = 1 << 16
"""Smallest number of new bytes of a connection that counts as progress."""


@dataclass(frozen=True)
class Source:
    """Describe a file of a server.

    Attributes:
        name: name of the file, for `OnProgress`.
        label: file and origin for messages, such as `'a.safetensors' of 'owner/name'`.
        size: size in bytes.
        server: the server.
        open_at: opens the file from a byte; yields the first byte that the server sends, and the blocks.
        digest: hash that the file must have; None if unknown.
        compute_digest: returns this hash of a file.
    """

    name: str
    label: str
    size: int
    server: Server
    open_at: Callable[[int], AbstractContextManager[tuple[int, Iterator[bytes]]]]
    digest: str | None
    compute_digest: Callable[[Path], str]


def download_and_verify(source: Source, partial: Path, on_progress: OnProgress | None) -> None:
    """Complete a partial file, and check its hash.

    Raises:
        RefusedError: the hash is wrong; the file is deleted. Or the path is a link.
        ModelUnavailableError: the server cannot be reached, denies access, or ends the file early each time.
        OSError: the partial file cannot be written.
    """
    expected, digest = source.digest, ""
    for _ in range(2):  # the first bytes can be damaged bytes of an earlier run
        _download_ranges(source, partial, on_progress)
        if expected is None or (digest := source.compute_digest(partial)) == expected:
            return
        partial.unlink()
    raise RefusedError(
        f"{source.label} has the wrong hash: {digest[:10]} instead of {str(expected)[:10]}.",
        "The downloaded file was deleted. Run the command again. If the error persists, the file on the server or a "
        "proxy is damaged.",
    )


def _download_ranges(source: Source, partial: Path, on_progress: OnProgress | None) -> None:
    """Download until the partial file is complete; `client.retry` limits the attempts without progress."""

    def describe() -> str:
        if not (received_bytes := file_size(partial)):
            return ""
        counts = f"received {received_bytes:,} of {counted(source.size, 'byte')}"
        return f"{source.label} is truncated: {counts}."

    while (received_bytes := file_size(partial)) != source.size or not os.path.lexists(partial):
        if received_bytes > source.size:
            partial.unlink()
            continue
        client.retry(lambda: _download_range(source, partial, on_progress), source.server, describe)


def _download_range(source: Source, partial: Path, on_progress: OnProgress | None) -> None:
    """Append to the partial file until the connection ends.

    Raises:
        TransientError: less than `MIN_PROGRESS_BYTES` were received, and the file is not complete.
    """
    start_byte, reason = file_size(partial), "it ends the file early"
    try:
        with source.open_at(start_byte) as (received_bytes, blocks), _open_partial(partial) as out:
            out.truncate(received_bytes)
            out.seek(received_bytes)
            for block in blocks:
                received_bytes += len(block)
                if received_bytes > source.size:
                    raise TransientError("it sent more bytes than it announced")
                out.write(block)
                out.flush()  # a killed process loses no received byte
                if on_progress:
                    on_progress(source.name, received_bytes, source.size)
    except TransientError as error:
        reason = str(error)
    size = file_size(partial)
    if size != source.size and size < start_byte + MIN_PROGRESS_BYTES:
        raise TransientError(reason)


def partial_file(path: Path) -> Path:
    """Return the partial file of a file."""
    return path.with_name(f"{path.name}.incomplete")


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


def file_size(path: Path) -> int:
    """Return the size of a regular file; 0 for a missing file and for a symbolic link."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
