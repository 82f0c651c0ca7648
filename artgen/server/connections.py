"""Limit the time in which a client sends the head of a request and reads a response, and the number of connections."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from artgen.server.settings import ServerSettings

MAX_CONNECTIONS = 400
"""Limit of open connections. A process can open 1024 files by default."""


def timed_protocol(settings: ServerSettings) -> type[H11Protocol]:
    """Return the HTTP protocol of a server with the limits of its settings. uvicorn itself has no such limits."""

    class TimedProtocol(H11Protocol):
        """Close connections that send no complete head, or do not read a response."""

        _head_timer: asyncio.TimerHandle | None = None
        _send_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MAX_CONNECTIONS:
                transport.abort()
                return
            self._start_head_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timers()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._start_head_timer()
            elif self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._send_timer = self.loop.call_later(settings.send_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._send_timer is not None:
                self._send_timer.cancel()
                self._send_timer = None

        def _start_head_timer(self) -> None:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(settings.header_seconds, self._close_without_head)

        def _close_without_head(self) -> None:
            self._head_timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def _stop_timers(self) -> None:
            for timer in (self._head_timer, self._send_timer):
                if timer is not None:
                    timer.cancel()
            self._head_timer = self._send_timer = None

    return TimedProtocol
