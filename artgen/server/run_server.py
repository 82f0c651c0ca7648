"""Run the server: open the socket, serve requests, and stop between two steps."""

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from artgen.errors import UsageError
from artgen.server.app import create_app
from artgen.server.check_settings import MAX_PORT, check_settings
from artgen.server.connections import timed_protocol
from artgen.server.job_queue import JobQueue, ServerJob
from artgen.server.log import log, log_exception
from artgen.server.settings import ServerSettings
from artgen.system import process
from artgen.system.counts import counted

EXIT_INTERRUPTED = 130
BACKLOG = 256
CLOSE_SECONDS = 10
"""Time in which clients must read the last responses when the server ends."""

_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)
"""Reasons that depend on the port."""


class _LogHandler(logging.Handler):
    """Write the messages of the libraries to the log of the server, without control characters."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            log_exception(record.exc_info[1])


class Server(uvicorn.Server):
    """Run the application until SIGINT or SIGTERM. The second signal ends the process at once."""

    def __init__(self, config: uvicorn.Config, queue: JobQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop after the current step; at once if a signal arrived before."""
        if self.should_exit:
            process.exit_at_once(EXIT_INTERRUPTED)
        self.should_exit = True
        log("Stopping after this step. Press Ctrl-C again to exit now.")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cancel all jobs, which ends the streams of their events, and close all connections."""
        for server in self.servers:
            server.close()
        await asyncio.to_thread(self._queue.close)
        await super().shutdown(sockets)


def open_socket(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens on the address of the server.

    Raises:
        UsageError: the address is unknown or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # UnicodeError: the name has an empty or too long part
        is_port = isinstance(error, OSError) and error.errno in _PORT_ERRORS
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "the name is not valid"
        port = settings.port + 1 if settings.port < MAX_PORT else 7861
        raise UsageError(
            f"Cannot listen on {settings.host}:{settings.port}: {reason}.",
            f"Use another port: artgen serve --port {port}"
            if is_port
            else "Use an address of this machine: artgen serve --host 127.0.0.1",
        ) from error
    return listener


def run_server(
    settings: ServerSettings,
    on_start: Callable[[str], object],
    *,
    queue: JobQueue | None = None,
    on_server: Callable[[Server], object] | None = None,
) -> None:
    """Run the server until SIGINT or SIGTERM.

    Args:
        settings: settings of the server.
        on_start: is called with the URL of the server before it accepts requests.
        queue: queue of the jobs; None: a new queue.
        on_server: is called with the server, whose attribute `should_exit` ends it from another thread.

    Raises:
        UsageError: see `check_settings` and `open_socket`.
        OutputError: see `check_settings`.
    """
    check_settings(settings)
    listener = open_socket(settings)
    job_queue = queue or JobQueue(settings)
    config = uvicorn.Config(
        create_app(settings, job_queue),
        http=timed_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.header_seconds,  # type: ignore[arg-type]  # a number of seconds
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    _install_log_handler()
    if not settings.quiet:
        _log_jobs(job_queue)
    server = Server(config, job_queue)
    if on_server is not None:
        on_server(server)
    on_start(url_of(settings.host, listener.getsockname()[1]))
    if queue is None:
        job_queue.preload()
    server.run([listener])


def _log_jobs(queue: JobQueue) -> None:
    """Log each job that has ended."""
    count_job = queue.on_end

    def on_end(job: ServerJob) -> None:
        count_job(job)
        reason = f": {job.error.message}" if job.error is not None else ""
        log(f"{job.client} {counted(len(job.images), 'image')}, {job.state}{reason}")

    queue.on_end = on_end


def url_of(host: str, port: int) -> str:
    """Return the URL of a server."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


_log_lock = threading.Lock()


def _install_log_handler() -> None:
    """Send the warnings of the web libraries to the log of the server."""
    with _log_lock:
        for name, level in (("uvicorn.error", logging.WARNING), ("python_multipart", logging.ERROR)):
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate = False
            if not any(isinstance(each, _LogHandler) for each in logger.handlers):
                logger.addHandler(_LogHandler())
