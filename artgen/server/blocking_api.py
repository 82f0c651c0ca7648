"""Share what the APIs of OpenAI and A1111 have in common: requests that wait for images, and errors in another form."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from artgen.errors import ArtgenError, ModelUnavailableError, PipelineError
from artgen.server.ascii_json import AsciiJson
from artgen.server.errors import NOT_FOUND, HttpError, status_of
from artgen.server.wait_for_job import ClientDisconnected

Endpoint = Callable[[Request], Awaitable[Response]]
CreateBody = Callable[[int, ArtgenError], dict[str, Any]]
"""Return the JSON body for a status and an error."""

CLIENT_CLOSED = 499
SERVER_ERROR = 500
FAILURE_CODES = (1, 6, 9, 71)
"""Exit codes of errors that are not the client's: bugs, memory, NaN, a lost GPU."""


class RequestError(ABC, Exception):
    """Report an invalid request.

    Attributes:
        status: HTTP status.
    """

    status: int

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response."""


def with_errors(endpoint: Endpoint, create_body: CreateBody) -> Endpoint:
    """Return an endpoint whose errors have the form of an API.

    Args:
        endpoint: endpoint that can raise RequestError, ArtgenError, HTTPException and ClientDisconnected.
        create_body: creates the JSON body of other errors than RequestError.
    """

    @wraps(endpoint)
    async def run(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RequestError as error:
            return AsciiJson(error.body(), error.status)
        except ArtgenError as error:
            return _response(error, create_body)
        except HTTPException as error:
            return _response(HttpError(error.status_code, f"{error.detail.rstrip('.')}."), create_body)
        except ClientDisconnected:
            return Response(status_code=CLIENT_CLOSED)

    return run


def _response(error: ArtgenError, create_body: CreateBody) -> Response:
    status = result_status(error)
    headers = {"Retry-After": "5"} if status in (429, 503) else {}
    return AsciiJson(create_body(status, error), status, headers=headers)


def result_status(error: ArtgenError) -> int:
    """Return the HTTP status of an error of a job: 404 for an unknown model, 500 if the client is not the reason."""
    if is_unknown_model(error):
        return NOT_FOUND
    if error.exit_code in FAILURE_CODES or isinstance(error, PipelineError):
        return SERVER_ERROR
    return status_of(error)


def is_unknown_model(error: ArtgenError) -> bool:
    """Return whether a model is not on the server, or does not fit the task."""
    return isinstance(error, ModelUnavailableError) and not isinstance(error, PipelineError)
