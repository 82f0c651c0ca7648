"""Create the web application of `artgen serve`."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from artgen.errors import ArtgenError
from artgen.server import jobs_api
from artgen.server.errors import HttpError, error_response
from artgen.server.job_queue import JobQueue
from artgen.server.settings import ServerSettings


def create_app(settings: ServerSettings, queue: JobQueue | None = None) -> Starlette:
    """Create the application. `app.state` has the attributes `settings` and `queue`.

    Args:
        settings: settings of the server.
        queue: queue of the jobs; None: a new queue, whose jobs run in the engine of this process.
    """
    job_queue = queue or JobQueue(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        job_queue.close()

    app = Starlette(
        routes=_routes(),
        exception_handlers={ArtgenError: _on_error, HTTPException: _on_http_error},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.queue = job_queue
    return app


def _routes() -> list[BaseRoute]:
    """Return the routes of all APIs. Each module has a function `routes`."""
    return [Route("/health", _health), *jobs_api.routes()]


async def _health(request: Request) -> Response:  # noqa: ARG001
    return JSONResponse({"status": "ok"})


async def _on_error(request: Request, error: Any) -> Response:  # noqa: ARG001
    return error_response(error)


async def _on_http_error(request: Request, error: Any) -> Response:  # noqa: ARG001
    """Convert the errors of Starlette: unknown paths and methods, and invalid forms."""
    return error_response(HttpError(error.status_code, f"{error.detail}."))
