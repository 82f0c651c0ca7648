"""Submit the jobs of a run in order, so that the next jobs wait on the server while a job runs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from artgen.engine.results import GeneratedImage
from artgen.errors import ArtgenError
from artgen.events import Listener
from artgen.remote.connection import Connection
from artgen.remote.errors import ServerError
from artgen.remote.job import Numbering, RemoteJob
from artgen.remote.upload import to_upload
from artgen.spec.base_requests import Request


class RefusedJob:
    """Represent a job that a server did not accept."""

    def __init__(self, error: ArtgenError) -> None:
        self._error = error

    def wait(self, listener: Listener, numbering: Numbering) -> GeneratedImage:  # noqa: ARG002
        """Raise the error of the server."""
        raise self._error

    def cancel(self) -> None:
        """Do nothing."""


AnyJob = RemoteJob | RefusedJob
Item = TypeVar("Item")


def run_in_order(
    items: Iterable[Item], submit: Callable[[Item], AnyJob], max_in_flight: int
) -> Iterator[tuple[Item, AnyJob]]:
    """Submit jobs, and yield each job with its item in order. The next jobs wait on the server meanwhile.

    If the iterator is closed, or an exception leaves it, the submitted jobs are canceled.

    Args:
        items: what `submit` converts to jobs.
        submit: see `submit_or_refuse`.
        max_in_flight: number of jobs that are on the server at the same time.

    Raises:
        ServerError: the server is not reachable.
    """
    remaining = iter(items)
    running: deque[tuple[Item, AnyJob]] = deque()
    try:
        while True:
            while len(running) < max_in_flight:
                try:
                    item = next(remaining)
                except StopIteration:
                    break
                running.append((item, submit(item)))
            if not running:
                return
            yield running[0]
            running.popleft()
    finally:
        for _, job in running:
            job.cancel()


def submit_or_refuse(connection: Connection, request: Request, recorded: Mapping[str, Any] | None = None) -> AnyJob:
    """Return the submitted job. A job that the server refuses as invalid raises its error when it is waited for.

    Args:
        connection: server of the job.
        request: see `to_upload`.
        recorded: see `to_upload`.

    Raises:
        ServerError: the server is not reachable.
    """
    try:
        return RemoteJob.submit(connection, request, to_upload(request, recorded))
    except ServerError:
        raise
    except ArtgenError as error:
        return RefusedJob(error)
