"""Send requests to a server of artgen: one connection for each request, with time limits and retries."""

import contextlib
import http.client
import json
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from artgen._version import __version__
from artgen.errors import ArtgenError
from artgen.remote import errors

Item = TypeVar("Item")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 900.0
"""Time limit of an answer. A server can compute the hash of a large model before it accepts a job."""
CANCEL_SECONDS = 3.0
RETRY_SECONDS = (0.3, 1.0, 2.0)
"""Waiting times before the repetitions of a request that could not be sent or answered."""
POLL_SECONDS = 0.1
MAX_ANSWER_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Server:
    """Store the address of a server.

    Attributes:
        url: URL without a slash at the end.
        token: token of the server; None without one. It is never printed.
    """

    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """Store the answer to a request.

    Attributes:
        status: HTTP status.
        data: body.
        retry_after: seconds after which the server accepts another attempt; None if the answer does not contain it.
    """

    status: int
    data: bytes
    retry_after: float | None = None

    def json(self) -> Any:
        """Return the value of the body; None if it is not JSON."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError):
            return None


class Connection:
    """Send requests to one server. While a request waits, `on_wait` is called, which can raise KeyboardInterrupt."""

    def __init__(self, server: Server, on_wait: Callable[[], None] = lambda: None) -> None:
        self.server = server
        self.on_wait = on_wait

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return self.server.url

    def check(self) -> int:
        """Check that the server is reachable, is artgen, and has the same version. Return its number of devices.

        Raises:
            ServerError: the server is not reachable.
            UsageError: the program is not artgen, or has another minor version.
            RefusedError: the token is missing or wrong.
        """
        answer = self.get("/health", at_start=True)
        found = answer.json()
        self._check_token(answer)
        if answer.status == 403 and (error := _reported(found)) is not None:
            raise error
        if answer.status != 200 or not isinstance(found, dict) or found.get("server") != "artgen":
            raise errors.foreign_error(self.url)
        version = str(found.get("version"))
        if version.split(".")[:2] != __version__.split(".")[:2]:
            raise errors.version_error(self.url, version[:40], __version__)
        self._check_token(self.get("/metrics"))  # `/health` needs no token
        devices = found.get("devices")
        return devices if isinstance(devices, int) and 0 < devices <= 64 else 1

    def get(self, path: str, *, at_start: bool = False) -> Answer:
        """Return the answer to a GET request, which is repeated if the connection fails.

        Raises:
            ServerError: the server is not reachable.
        """
        waits = iter(RETRY_SECONDS)
        while True:
            try:
                return self.in_thread(lambda: self._send("GET", path))
            except (OSError, http.client.HTTPException) as error:
                if (seconds := next(waits, None)) is None:
                    if at_start:
                        raise errors.unreachable_error(self.url, _reason(error)) from error
                    raise errors.ended_error(self.url) from error
                self.sleep(seconds)

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        """Return the answer to a POST request.

        Raises:
            ServerError: the server is not reachable, or sends no answer.
        """
        try:
            return self.in_thread(lambda: self._send("POST", path, body, content_type))
        except (OSError, http.client.HTTPException) as error:
            raise errors.unreachable_error(self.url, _reason(error)) from error

    def delete(self, path: str) -> None:
        """Send a DELETE request. Errors are ignored."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._send("DELETE", path, timeout=CANCEL_SECONDS)

    def checked(self, answer: Answer, *, expected: int = 200) -> Answer:
        """Return an answer with the expected status.

        Raises:
            ArtgenError: the error that the server reports.
        """
        if answer.status == expected:
            return answer
        self._check_token(answer)
        error = _reported(answer.json())
        if error is None:
            raise errors.foreign_error(self.url)
        if answer.status in (429, 503):
            raise errors.QueueFullError(f"The server '{self.url}' accepts no job: {error.message}", error.hint)
        if answer.status == 413 and not error.hint:
            error.hint = "Use smaller images, or start the server with a larger --max-body."
        raise error

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Yield the server-sent events of a path: name and data. The iterator ends if the connection ends."""
        try:
            connection = self._connect(ANSWER_SECONDS)
            try:
                connection.request("GET", self._path(path), headers=self._headers({"Accept": "text/event-stream"}))
                response = connection.getresponse()
                if response.status == 200:
                    yield from _parse_events(response)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError):
            return

    def in_thread(self, function: Callable[[], Item]) -> Item:
        """Return the result of a function that waits for the server. Meanwhile, `on_wait` is called."""
        return next(self.iterate(function() for _ in range(1)))

    def iterate(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items that another thread receives from the server. Meanwhile, `on_wait` is called."""
        received: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def receive() -> None:
            error: BaseException | None = None
            try:
                for item in items:
                    received.put((item, None))
            except BaseException as found:
                error = found
            received.put((None, error or StopIteration()))

        # A daemon thread does not delay the exit while the server sends nothing.
        threading.Thread(target=receive, name="artgen-remote", daemon=True).start()
        while True:
            try:
                item, error = received.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self.on_wait()
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    def sleep(self, seconds: float) -> None:
        """Wait. Meanwhile, `on_wait` is called."""
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, POLL_SECONDS))
            self.on_wait()

    def _check_token(self, answer: Answer) -> None:
        if answer.status == 401:
            raise errors.token_error(self.url, has_token=self.server.token is not None)

    def _send(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", timeout: float = ANSWER_SECONDS
    ) -> Answer:
        connection = self._connect(timeout)
        try:
            headers = {"Content-Type": content_type} if content_type else {}
            try:
                connection.request(method, self._path(path), body, self._headers(headers))
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # The server refuses a large body before it has read it. Its answer can be available.
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES)
            return Answer(response.status, data, _seconds(response.headers.get("Retry-After")))
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=min(timeout, CONNECT_SECONDS), context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=min(timeout, CONNECT_SECONDS))
        connection.connect()
        connection.sock.settimeout(timeout)
        return connection

    def _path(self, path: str) -> str:
        return urlsplit(self.url).path + path

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self.server.token}"} if self.server.token else {}
        return {"Connection": "close", "User-Agent": f"artgen/{__version__}", **token, **headers}


def _parse_events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name, data = "message", ""
    while line := response.readline(MAX_LINE_BYTES):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        field_name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not text:
            if data:
                yield name, json.loads(data)
            name, data = "message", ""
        elif field_name == "event":
            name = value
        elif field_name == "data":
            data += value


def _reported(values: Any) -> ArtgenError | None:
    return errors.error_of(values.get("error")) if isinstance(values, dict) else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() and len(text) < 6 else None


def _reason(error: Exception) -> str:
    """Return the reason of a failed connection as a part of a sentence."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return text[:1].lower() + text[1:].rstrip(".")
