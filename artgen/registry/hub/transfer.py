"""Receive answers of the model hub and of other servers in bounded time and memory.

artgen uses the HTTP session of huggingface_hub. The request functions of huggingface_hub are not used: they read
answers of any size, and wait without a limit for a server that sends a byte from time to time.
"""

import contextlib
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from artgen.errors import ArtgenError, ModelUnavailableError, UsageError
from artgen.registry.hub.network_settings import is_loopback

READ_SECONDS = 20.0
"""Longest time without a received byte."""
ANSWER_SECONDS = 20.0
"""Longest time until the headers, and of the body of an answer that is not a file."""
SLOW_WINDOW_SECONDS = 20.0
MIN_BYTES_PER_SECOND = 1024
"""Smallest mean speed during `SLOW_WINDOW_SECONDS`."""
MAX_REDIRECTS = 8

_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})


class TransientError(Exception):
    """Report a failed connection or a busy server; the caller tries again."""


class _ReceiverClosedError(Exception):
    """End the receiving thread, because nothing waits for its blocks any more."""


@dataclass(frozen=True)
class Server:
    """Describe a server for messages, and its redirects.

    Attributes:
        name: subject of a sentence, such as `The hub at https://huggingface.co`.
        hint: hint of an error that wrong settings can cause.
        needs_encryption: whether redirects to `http://` are refused, except to this computer.
    """

    name: str
    hint: str
    needs_encryption: bool = False


@dataclass(frozen=True)
class Answer:
    """Represent the answer to a GET request.

    Attributes:
        server: server of the first request.
        status: HTTP status.
        headers: HTTP headers, case-insensitive.
        blocks: blocks of the body. Iteration raises TransientError if the connection fails, and ModelUnavailableError
            if the server is too slow.
    """

    server: Server
    status: int
    headers: Mapping[str, str]
    blocks: Iterator[bytes]


@contextlib.contextmanager
def open_answer(url: str, headers: Mapping[str, str], server: Server, *, other_hosts: bool) -> Iterator[Answer]:
    """Send a GET request. Another thread receives the answer, so that this thread can stop waiting at any time.

    Args:
        url: address at the server.
        headers: headers of the request. Other hosts do not receive the access token.
        server: the server, for messages.
        other_hosts: follow redirects to other hosts, which store the large files of the server.

    Raises:
        TransientError: the connection failed.
        ModelUnavailableError: the server does not answer, or redirects to an address that is not allowed.
        UsageError: the HTTP client does not accept the network settings.
    """
    client = _client()
    items: queue.Queue[Any] = queue.Queue(maxsize=64)
    is_closed = threading.Event()

    def receive() -> None:
        try:
            with _follow_redirects(client, url, headers, server, other_hosts) as response:
                _put(items, is_closed, response)
                for block in response.iter_raw():
                    _put(items, is_closed, block)
            _put(items, is_closed, None)
        except Exception as error:  # exceptions of httpx, of its dependencies and of ssl
            with contextlib.suppress(_ReceiverClosedError):
                is_own = isinstance(error, ArtgenError)
                _put(items, is_closed, error if is_own else TransientError(_reason(error)))

    # A daemon thread does not delay the exit while a server sends nothing.
    threading.Thread(target=receive, name="artgen-transfer", daemon=True).start()
    try:
        try:
            response = _take(items, ANSWER_SECONDS)
        except queue.Empty:
            raise _too_slow_error(server, f"it does not answer within {ANSWER_SECONDS:g} seconds") from None
        yield Answer(server, response.status_code, response.headers, _iter_blocks(items, server))
    finally:
        is_closed.set()


def read_body(answer: Answer, max_bytes: int) -> bytes:
    """Return the body of an answer that is not a file.

    Raises:
        TransientError: the connection failed.
        ModelUnavailableError: the body is compressed, has more than `max_bytes`, or takes too long.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ModelUnavailableError(f"{answer.server.name} sent a compressed answer.", answer.server.hint)
    body = bytearray()
    for block in answer.blocks:
        body += block
        if len(body) > max_bytes:
            raise ModelUnavailableError(
                f"{answer.server.name} sent an answer of more than {max_bytes / 2**20:g} MiB.", answer.server.hint
            )
        if time.monotonic() > deadline:
            raise _too_slow_error(answer.server, f"its answer takes longer than {ANSWER_SECONDS:g} seconds")
    return bytes(body)


def _client() -> Any:
    """Return huggingface_hub's HTTP client, which has the proxies and the certificates of the environment."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported lazily

    try:
        return get_session()
    except Exception as error:  # ImportError, ValueError, InvalidURL, OSError, ssl.SSLError
        hint = "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR."
        raise UsageError(f"The network settings are not valid: {_reason(error)}.", hint) from None


@contextlib.contextmanager
def _follow_redirects(
    client: Any, url: str, headers: Mapping[str, str], server: Server, other_hosts: bool
) -> Iterator[Any]:
    for _ in range(MAX_REDIRECTS):
        with client.stream("GET", url, headers=headers, timeout=READ_SECONDS, follow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECT_CODES or not location:
                yield response
                return
        url, headers = _redirect(url, location, headers, server, other_hosts)
    raise ModelUnavailableError(f"{server.name} redirects more than {MAX_REDIRECTS} times.", "Try again later.")


def _redirect(
    url: str, location: str, headers: Mapping[str, str], server: Server, other_hosts: bool
) -> tuple[str, Mapping[str, str]]:
    """Return the address and the headers of the next request.

    Raises:
        ModelUnavailableError: the address is not allowed: another host for `other_hosts=False`, or without encryption.
    """
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    allows_http = old.scheme == "http" and (not server.needs_encryption or is_loopback(new.hostname or ""))
    is_allowed = new.scheme == "https" or (new.scheme == "http" and allows_http)
    if not is_allowed or (new.hostname != old.hostname and not other_hosts):
        raise ModelUnavailableError(
            f"{server.name} redirects to another address, '{new.scheme}://{new.hostname}'.", server.hint
        )
    if (new.scheme, new.hostname, new.port) != (old.scheme, old.hostname, old.port):
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return target, headers


def _put(items: "queue.Queue[Any]", is_closed: threading.Event, item: object) -> None:
    """Pass an item to the waiting thread.

    Raises:
        _ReceiverClosedError: nothing waits for the item any more.
    """
    while not is_closed.is_set():
        with contextlib.suppress(queue.Full):
            items.put(item, timeout=0.2)
            return
    raise _ReceiverClosedError


def _take(items: "queue.Queue[Any]", seconds: float) -> Any:
    """Return the next item of the receiving thread.

    Raises:
        queue.Empty: no item arrived in this time.
        TransientError, ModelUnavailableError: the error of the receiving thread.
    """
    item = items.get(timeout=max(seconds, 0.001))
    if isinstance(item, Exception):
        raise item
    return item


def _iter_blocks(items: "queue.Queue[Any]", server: Server) -> Iterator[bytes]:
    """Yield the blocks of a body until its end; stop if it is slower than `MIN_BYTES_PER_SECOND`."""
    start, received_bytes = time.monotonic(), 0
    while True:
        try:
            block = _take(items, start + SLOW_WINDOW_SECONDS - time.monotonic())
        except queue.Empty:
            if received_bytes < SLOW_WINDOW_SECONDS * MIN_BYTES_PER_SECOND:
                raise _too_slow_error(server, f"it sends less than {MIN_BYTES_PER_SECOND:,} bytes per second") from None
            start, received_bytes = time.monotonic(), 0
            continue
        if block is None:
            return
        received_bytes += len(block)
        yield block


def _too_slow_error(server: Server, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{server.name} is too slow: {reason}.",
        "Check the network and run the command again; it resumes the download.",
    )


def _reason(error: Exception) -> str:
    """Return the first line of an error, without user names and passwords."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\S*@", "", lines[0])[:200].rstrip(".")
