"""Run a function in a thread, while no other thread validates a job or resets caches."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from artgen.server.parse_job import STATE_LOCK

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def run_locked(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function with `STATE_LOCK`. One call decodes images at a time, which limits the memory."""

    def run() -> Result:
        with STATE_LOCK:
            return function(*args, **kwargs)

    return await run_in_threadpool(run)
