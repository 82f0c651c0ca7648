"""Run the server of artgen on 127.0.0.1 in a thread of the test."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from artgen.server.job_queue import JobQueue
from artgen.server.run_server import Server, run_server
from artgen.server.settings import ServerSettings

START_SECONDS = 60.0


@contextmanager
def running_server(queue: JobQueue | None = None, **settings: Any) -> Iterator[str]:
    """Run a server until the block ends; yield its address, such as `http://127.0.0.1:40123`.

    Args:
        queue: queue of the jobs; None: a queue whose jobs run in the engine of this process.
        settings: fields of `ServerSettings`. The default model is `tiny`.
    """
    server_settings = ServerSettings(**{"port": 0, "defaults": {"model": "tiny"}, **settings})
    started = threading.Event()
    urls: list[str] = []
    servers: list[Server] = []

    def on_start(url: str) -> None:
        urls.append(url)
        started.set()

    def run() -> None:
        # A given queue does not load models before the first job.
        run_server(server_settings, on_start, queue=queue or JobQueue(server_settings), on_server=servers.append)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert started.wait(START_SECONDS)
        yield urls[0]
    finally:
        servers[0].should_exit = True
        thread.join(START_SECONDS)
        assert not thread.is_alive()
        unload_models()


def unload_models() -> None:
    """Unload the models of the server, so that the process of the test is no longer resident."""
    loaded_models = sys.modules.get("artgen.engine.loading.loaded_models")
    if loaded_models is not None:
        loaded_models.unload_active()
        loaded_models.unload_idle()
        loaded_models._store = loaded_models._Store()
