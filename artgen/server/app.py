"""Create the web application of `artgen serve`."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artgen._version import __version__
from artgen.errors import ArtgenError
from artgen.server import jobs_api, metrics
from artgen.server.a1111.routes import a1111_routes
from artgen.server.blocking_api import SERVER_ERROR
from artgen.server.bodies import BodyGuard
from artgen.server.errors import BAD_REQUEST, HttpError, error_response, http_error
from artgen.server.job_queue import JobQueue
from artgen.server.live_gallery import gallery_routes
from artgen.server.log import log, log_exception
from artgen.server.openai.routes import openai_routes
from artgen.server.security import HostGuard, TokenGuard
from artgen.server.settings import ServerSettings


def create_app(settings: ServerSettings, queue: JobQueue | None = None) -> Starlette:
    """Create the application. `app.state` has the attributes `settings`, `queue` and `metrics`.

    Args:
        settings: settings of the server.
        queue: queue of the jobs; None: a new queue, whose jobs run in the engine of this process.
    """
    job_queue = queue or JobQueue(settings)
    job_metrics = metrics.Metrics(job_queue)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        job_queue.close()

    app = Starlette(
        routes=_routes(settings),
        middleware=[
            Middleware(ResponseLog, job_metrics, lowest_status=_lowest_logged_status(settings)),
            Middleware(HostGuard, settings),
            *_cors(settings),
            Middleware(TokenGuard, settings.token),
            Middleware(BodyGuard, settings),
        ],
        exception_handlers={ArtgenError: _on_error, HTTPException: _on_http_error},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.queue = job_queue
    app.state.metrics = job_metrics
    return app


def _lowest_logged_status(settings: ServerSettings) -> int:
    """Return the lowest HTTP status that is logged; 0 is a closed connection."""
    return SERVER_ERROR if settings.quiet else 0 if settings.verbose else BAD_REQUEST


def _routes(settings: ServerSettings) -> list[BaseRoute]:
    """Return the routes of all APIs. Each module has a function `routes`."""
    return [
        Route("/health", show_health),
        *metrics.routes(),
        *jobs_api.routes(),
        *openai_routes(),
        *a1111_routes(),
        *(gallery_routes() if settings.history else ()),
    ]


def _cors(settings: ServerSettings) -> list[Middleware]:
    """Return the middleware that allows the scripts of other sites to use the server; empty by default."""
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    ]


class ResponseLog:
    """Count the responses, log the refused requests, and convert bugs to responses."""

    def __init__(self, app: ASGIApp, job_metrics: metrics.Metrics, *, lowest_status: int) -> None:
        self._app = app
        self._metrics = job_metrics
        self._lowest_status = lowest_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start_time = 0, time.monotonic()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.responses.labels(str(status)).inc()
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            log_exception(error)
            if status:
                raise
            bug = HttpError(SERVER_ERROR, "The server has a bug. Its log has the details.")
            await error_response(bug, scope["path"])(scope, receive, send_and_note)
        if status >= self._lowest_status:
            client = scope["client"][0] if scope.get("client") else "?"
            seconds = time.monotonic() - start_time
            log(f"{client} {scope['method']} {scope['path']}: {status or 'closed'}, {seconds:.2f} s")


async def show_health(request: Request) -> Response:
    """Return the state and the version of the server, and the numbers of devices, waiting jobs and running jobs."""
    queue: JobQueue = request.app.state.queue
    return JSONResponse(
        {
            "status": "ok",
            "server": "artgen",
            "version": __version__,
            "devices": 1,
            "waiting": queue.depth,
            "running": int(queue.current is not None),
        }
    )


async def _on_error(request: Request, error: Any) -> Response:
    return error_response(error, request.url.path)


async def _on_http_error(request: Request, error: Any) -> Response:
    """Convert the errors of Starlette: unknown paths and methods, and invalid forms."""
    response = error_response(http_error(error, request.method), request.url.path)
    response.headers.update(error.headers or {})
    return response
