"""Add a job of an HTTP request to the queue. All APIs of the server use this function."""

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from artgen.server.job_queue import JobQueue, ServerJob
from artgen.server.parse_job import ParsedJob, parse_job
from artgen.server.settings import ServerSettings
from artgen.server.uploads import NO_UPLOADS, Upload


async def submit_job(
    request: Request, values: Mapping[str, Any], uploads: Mapping[str, Upload] = NO_UPLOADS
) -> ServerJob:
    """Validate a job in a thread, and add it to the queue.

    Args:
        request: request of the client.
        values: see `artgen.server.parse_job.parse_job`.
        uploads: uploaded files by name.

    Raises:
        QueueFull: the queue has no place.
        ArtgenError: the job is invalid.
    """
    queue, client = queue_of(request), client_of(request)
    queue.check_space(client)
    parsed: ParsedJob = await run_in_threadpool(parse_job, values, uploads, settings_of(request))
    return queue.submit(parsed, client)


def queue_of(request: Request) -> JobQueue:
    """Return the queue of the server."""
    queue: JobQueue = request.app.state.queue
    return queue


def settings_of(request: Request) -> ServerSettings:
    """Return the settings of the server."""
    settings: ServerSettings = request.app.state.settings
    return settings


def client_of(request: Request) -> str:
    """Return the address of the client, for its limit in the queue."""
    return request.client.host if request.client else ""
