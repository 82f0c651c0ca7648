"""Read the body of each request with limits: its size, its time, and the memory of all bodies together."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artgen.server.errors import HttpError, error_response
from artgen.server.settings import ServerSettings

TOO_LARGE = 413
TIMEOUT = 408
UNAVAILABLE = 503

DRAIN_SECONDS = 2.0
"""Time in which the rest of a refused body is received and discarded. Most clients read the response only then."""


class _Disconnected(Exception):
    """Report that the client closed the connection before the end of the body."""


class BodyGuard:
    """Read the body of a request before the application runs. The application receives it as one message."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._total_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            try:
                await self._read(Headers(scope=scope), receive, body)
            except HttpError as error:
                self._release(body)
                await _refuse(error_response(error, scope["path"]), receive, send)
                return
            except _Disconnected:
                return
            size = len(body)
            data = bytes(body)
            body.clear()
            try:
                await self._app(scope, _replay(data, receive), send)
            finally:
                self._total_bytes -= size
        finally:
            self._release(body)

    async def _read(self, headers: Headers, receive: Receive, body: bytearray) -> None:
        """Read the body to its end.

        Raises:
            HttpError: the body is too large or too slow, or the memory for bodies is full.
        """
        limit = self._settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise _too_large(limit)
        end_time = time.monotonic() + self._settings.body_seconds
        while True:
            seconds = min(self._settings.idle_body_seconds, end_time - time.monotonic())
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    message = await receive()
            except TimeoutError:
                raise HttpError(TIMEOUT, "The body of the request did not arrive in time.", "Send it again.") from None
            if message["type"] != "http.request":
                raise _Disconnected
            chunk: bytes = message.get("body", b"")
            if len(body) + len(chunk) > limit:
                raise _too_large(limit)
            if self._total_bytes + len(chunk) > self._settings.max_total_body_bytes:
                raise HttpError(UNAVAILABLE, "The server receives too much data at this time.", "Try again later.")
            body += chunk
            self._total_bytes += len(chunk)
            if not message.get("more_body", False):
                return

    def _release(self, body: bytearray) -> None:
        self._total_bytes -= len(body)
        body.clear()


def _too_large(limit: int) -> HttpError:
    return HttpError(TOO_LARGE, f"The body of the request is too large: the limit is {limit:,} bytes.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives a complete body, and then the messages after the body."""
    is_sent = False

    async def receive_body() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body


async def _refuse(response: Response, receive: Receive, send: Send) -> None:
    """Send the response, discard the rest of the body for a short time, and close the connection."""
    response.headers["Connection"] = "close"
    start: Message = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    await send(start)
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if response.status_code != TIMEOUT:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
