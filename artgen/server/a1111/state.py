"""Store the state of the A1111 API: the model that each client selected, and its unfinished jobs."""

import threading
import time
from collections import OrderedDict

from starlette.requests import Request

from artgen.server.job_queue import ServerJob

MAX_CLIENTS = 1000
"""Number of clients whose model is stored."""


class A1111State:
    """Store the selected model and the unfinished jobs of each client. Thread-safe.

    A1111 has one user. This server can have several: a client changes, sees and stops only its own jobs and model.
    """

    def __init__(self) -> None:
        """Create an empty state."""
        self._lock = threading.Lock()
        self._models: OrderedDict[str, str] = OrderedDict()
        self._jobs: dict[str, list[ServerJob]] = {}

    def model(self, client: str) -> str | None:
        """Return the model that a client selected; None if it selected no model."""
        return self._models.get(client)

    def select_model(self, client: str, name: str) -> None:
        """Store the model that a client selected."""
        with self._lock:
            self._models[client] = name
            self._models.move_to_end(client)
            while len(self._models) > MAX_CLIENTS:
                self._models.popitem(last=False)

    def add_job(self, client: str, job: ServerJob) -> None:
        """Add a job of a client."""
        with self._lock:
            self._jobs.setdefault(client, []).append(job)

    def remove_job(self, client: str, job: ServerJob) -> None:
        """Remove a job of a client."""
        with self._lock:
            jobs = self._jobs.get(client, [])
            if job in jobs:
                jobs.remove(job)
            if not jobs:
                self._jobs.pop(client, None)

    def jobs(self, client: str) -> list[ServerJob]:
        """Return the unfinished jobs of a client; the running job is the first."""
        with self._lock:
            jobs = [job for job in self._jobs.get(client, []) if not job.is_ended]
        return sorted(jobs, key=lambda job: job.state == "queued")


def state_of(request: Request) -> A1111State:
    """Return the state of the server."""
    app_state = request.app.state
    if not hasattr(app_state, "a1111"):
        app_state.a1111 = A1111State()
    state: A1111State = app_state.a1111
    return state


def seconds_since(job: ServerJob) -> float:
    """Return the age of a job in seconds."""
    return max(0.0, time.time() - job.created)
