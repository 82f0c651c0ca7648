"""Run a server of artgen in a thread of the test."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from artgen_server import unload_models

from artgen.server.app import create_app
from artgen.server.generation import create_runner
from artgen.server.job_queue import JobQueue
from artgen.server.settings import ServerSettings


@dataclass(frozen=True)
class RunningServer:
    """Store a running server.

    Attributes:
        address: `127.0.0.1:PORT`.
        queue: jobs of the server.
    """

    address: str
    queue: JobQueue


@contextmanager
def running_server(settings: ServerSettings | None = None) -> Iterator[RunningServer]:
    """Start a server on a free port, and stop it at the end."""
    settings = settings or ServerSettings(port=0)
    queue = JobQueue(settings, create_runner(settings))
    server = uvicorn.Server(uvicorn.Config(create_app(settings, queue), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield RunningServer(f"127.0.0.1:{port}", queue)
    finally:
        server.should_exit = True
        thread.join()
        unload_models()
