"""Wait for a job in the request of the client. The APIs of OpenAI and A1111 answer when the images are finished."""

import asyncio
import contextlib

from starlette.requests import Request

from artgen.server.job_queue import ServerJob
from artgen.server.submit import queue_of

DISCONNECT_SECONDS = 1.0
"""Interval of the checks whether the client is still connected."""


class ClientDisconnected(Exception):
    """Report that the client closed the connection. Its job is canceled, and nobody receives a response."""


async def wait_for_job(request: Request, job: ServerJob) -> None:
    """Wait until a job has ended. The job is canceled if the client closes the connection.

    Args:
        request: request of the client; its body was read.
        job: job of the client.

    Raises:
        ClientDisconnected: the client closed the connection before the end of the job.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def on_change() -> None:
        if job.is_ended:
            loop.call_soon_threadsafe(ended.set)

    unsubscribe = job.subscribe(on_change)
    try:
        while not job.is_ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), DISCONNECT_SECONDS)
            if not job.is_ended and await request.is_disconnected():
                raise ClientDisconnected
    finally:
        unsubscribe()
        if not job.is_ended:  # also if the server cancels the request
            queue_of(request).cancel(job.id)
