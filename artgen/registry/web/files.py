"""Download one file of a web server: check its name, size and first bytes, then receive and check all bytes."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from artgen.errors import ModelUnavailableError, OutputError, RefusedError
from artgen.registry.hashes import compute_sha256
from artgen.registry.hub import client
from artgen.registry.hub.client import MAX_FILE_BYTES, RETRY_STATUS_CODES
from artgen.registry.hub.network_settings import is_loopback
from artgen.registry.hub.ranges import OnProgress, Source, download_and_verify, file_size
from artgen.registry.hub.transfer import Answer, Server, TransientError, open_answer
from artgen.registry.safetensors_header import MAX_HEADER_BYTES
from artgen.registry.web import names
from artgen.system.files import nearest_existing, wrap_write_errors

MIN_START_BYTES = 9
"""Bytes of a file that show its format."""

STATUS_REASONS = {401: "requires that you log in", 403: "denies access", 404: "does not have the file"}
PAGE_TYPES = ("text/html", "application/xhtml+xml")

CheckStatus = Callable[[Answer, str], None]


@dataclass(frozen=True)
class RemoteFile:
    """Describe a file on a server.

    Attributes:
        url: complete address; it can contain a secret.
        label: name for messages.
        server: the server.
        headers: headers of the requests. Other hosts do not receive the access token.
        check_status: converts an error status to an error.
        sha256: hash that the file must have; None if unknown.
        file_name: name of the file, if it is known; the server's name is used otherwise.
    """

    url: str
    label: str
    server: Server
    headers: Mapping[str, str]
    check_status: CheckStatus
    sha256: str | None = None
    file_name: str = ""


@dataclass(frozen=True)
class AnnouncedFile:
    """Store the properties of a file from the HTTP headers and the first bytes.

    Attributes:
        name: safe file name with a suffix.
        size: size in bytes.
        validator: value of the header If-Range; empty if the server announces no version of the file.
        header: first bytes with the complete header of a safetensors file; empty for a GGUF file.
    """

    name: str
    size: int
    validator: str
    header: bytes


def web_server(url: str) -> Server:
    """Return the description of a server for messages."""
    return Server(f"The server '{urlsplit(url).hostname}'", "Copy the address again.", needs_encryption=True)


def check_web_status(answer: Answer, label: str) -> None:
    """Convert an error status of a web server to an error.

    Raises:
        TransientError: the server is busy.
        ModelUnavailableError: all other errors.
    """
    if answer.status in (200, 206):
        return
    if answer.status in RETRY_STATUS_CODES:
        raise TransientError(f"it returns status {answer.status}")
    if answer.status == 416:
        raise TransientError("it has no more bytes of the file")

    reason = STATUS_REASONS.get(answer.status, "reports an error")
    raise ModelUnavailableError(
        f"Cannot download '{label}': the server {reason} (status {answer.status}).",
        "Open the address in a browser. If the browser can download the file, pass the path of the downloaded file.",
    )


def check_url(url: str, label: str) -> None:
    """Check an address that a server sent.

    Raises:
        ModelUnavailableError: the address is not valid, or its connection is not encrypted.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    is_encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not host or not is_encrypted or not url.isprintable() or " " in url or "@" in parts.netloc:
        raise ModelUnavailableError(
            f"Cannot download '{label}': the server sent an address that is not valid or not encrypted.",
            "Download the file with a browser, and pass its path.",
        )


@contextmanager
def locked(partial: Path) -> Iterator[None]:
    """Lock a partial file, so that only one process writes it.

    Raises:
        OutputError: the folder cannot be written.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    with wrap_write_errors(partial.parent):
        partial.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(partial.with_suffix(".lock")):
            yield


def fetch_file_info(file: RemoteFile) -> AnnouncedFile:
    """Request the name, the size and the first bytes of a file, and check the first bytes.

    Raises:
        ModelUnavailableError: the server has no such file, announces no size, or sends a web page.
        RefusedError: the file is a pickle.
    """
    return client.retry(lambda: _fetch_file_info(file), file.server)


def _fetch_file_info(file: RemoteFile) -> AnnouncedFile:
    with open_answer(file.url, file.headers, file.server, other_hosts=True) as answer:
        file.check_status(answer, file.label)
        disposition = names.disposition_name(answer.headers.get("Content-Disposition", ""))
        name = names.safe_name(file.label, [name for name in (file.file_name, disposition) if name][:1], file.url)
        length = answer.headers.get("Content-Length", "")
        if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() in PAGE_TYPES:
            raise _page_error(file)
        if answer.headers.get("Content-Encoding", "identity") != "identity" or not re.fullmatch(r"\d{1,16}", length):
            raise ModelUnavailableError(
                f"Cannot download '{file.label}': the server does not announce the size of the file.",
                "Download the file with a browser, and pass its path.",
            )
        size = int(length)
        if size > MAX_FILE_BYTES:
            raise ModelUnavailableError(f"Cannot download '{file.label}': it has {size:,} bytes.", "Use another file.")
        header = _read_start(answer, MIN_START_BYTES)
        _check_start(file, name, header, size)
        if not name.endswith(".gguf"):
            header_bytes = 8 + int.from_bytes(header[:8], "little")
            header += _read_start(answer, header_bytes - len(header))
            if len(header) < header_bytes:
                raise TransientError("it ends the file early")
            header = header[:header_bytes]
        validator = answer.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):  # a weak validator does not identify bytes
            validator = answer.headers.get("Last-Modified", "")
        validator = validator if validator.isascii() and validator.isprintable() else ""
        return AnnouncedFile(name, size, validator, b"" if name.endswith(".gguf") else header)


def _read_start(answer: Answer, num_bytes: int) -> bytes:
    """Return at least this number of bytes of an answer; fewer at its end."""
    start = bytearray()
    while len(start) < num_bytes and (block := next(answer.blocks, None)):
        start += block
    return bytes(start)


def _check_start(file: RemoteFile, name: str, start: bytes, size: int) -> None:
    """Check that the file starts with the header of a safetensors or GGUF file, and that the header fits the size."""
    if start.lstrip()[:1] == b"<":
        raise _page_error(file)
    if name.endswith(".gguf"):
        is_valid = start[:4] == b"GGUF"
    else:
        header_bytes = int.from_bytes(start[:8], "little")
        is_valid = start[8:9] == b"{" and 2 <= header_bytes <= min(MAX_HEADER_BYTES, size - 8)
    if is_valid:
        return
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise RefusedError(
            f"Cannot download '{file.label}': it is a zip file or a Python pickle, not a safetensors file.",
            "Use a .safetensors version of the model.",
        )
    raise ModelUnavailableError(
        f"Cannot download '{file.label}': the server sends neither a safetensors nor a GGUF file.", file.server.hint
    )


def _page_error(file: RemoteFile) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot download '{file.label}': the server sends a web page instead of the file.",
        "Some servers require that you log in. Open the address in a browser.",
    )


def download(file: RemoteFile, announced: AnnouncedFile, partial: Path, on_progress: OnProgress | None) -> None:
    """Complete the partial file, and check its hash if the hash is known.

    Raises:
        RefusedError: the hash is wrong; the file is deleted.
        ModelUnavailableError: the server cannot be reached, denies access, or ends the file early each time.
        OutputError: the file cannot be written.
    """

    @contextmanager
    def open_at(start_byte: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        can_resume = bool(file.sha256 or announced.validator)
        headers = dict(file.headers)
        if start_byte and can_resume:
            headers["Range"] = f"bytes={start_byte}-"
            if announced.validator:
                headers["If-Range"] = announced.validator
        with open_answer(file.url, headers, file.server, other_hosts=True) as answer:
            file.check_status(answer, file.label)
            if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start_byte}-"):
                raise TransientError("it sent another range than requested")
            yield (start_byte if answer.status == 206 else 0), answer.blocks

    source = Source(
        announced.name,
        f"'{announced.name}' of '{file.label}'",
        announced.size,
        file.server,
        open_at,
        file.sha256,
        compute_sha256,
    )
    with wrap_write_errors(partial.parent, "Free some space and run the command again; it resumes the download."):
        download_and_verify(source, partial, on_progress)


def partial_key(file: RemoteFile, announced: AnnouncedFile) -> str:
    """Return the name of the partial file: the same for the same version of a file, also with another signature."""
    if file.sha256:
        return file.sha256
    text = "\n".join((file.label, announced.validator, str(announced.size)))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def check_disk_space(partial: Path, announced: AnnouncedFile) -> None:
    """Check that the disk has space for the missing bytes of a partial file.

    Raises:
        OutputError: the free space is too small.
    """
    needed_bytes = announced.size - file_size(partial)
    with wrap_write_errors(partial.parent):
        free_bytes = shutil.disk_usage(nearest_existing(partial.parent)).free
    if needed_bytes > free_bytes:
        raise OutputError(
            f"Cannot download: the file needs {needed_bytes / 1e9:.1f} GB, and the disk of '{partial.parent}' has "
            f"{free_bytes / 1e9:.1f} GB left.",
            "Free some space.",
        )
