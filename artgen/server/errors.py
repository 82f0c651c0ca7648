"""Convert errors to responses of artgen's own API."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from artgen.errors import ArtgenError
from artgen.server.job_queue import QueueFull

BAD_REQUEST = 400
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405


class HttpError(ArtgenError):
    """Report an error that only an HTTP request can have.

    Args:
        status: HTTP status code.
        message: see `ArtgenError`.
        hint: see `ArtgenError`.
    """

    exit_code = 2

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def http_error(error: HTTPException, method: str) -> HttpError:
    """Convert an error of Starlette to an error of artgen: an unknown path, a wrong method, or an invalid form."""
    allowed = (error.headers or {}).get("Allow", "")
    if error.status_code == METHOD_NOT_ALLOWED and allowed:
        return HttpError(METHOD_NOT_ALLOWED, f"The address does not support {method}.", f"It supports {allowed}.")
    return HttpError(error.status_code, f"{error.detail.rstrip('.')}.")


def status_of(error: ArtgenError) -> int:
    """Return the HTTP status of an error: 400 for an invalid job, 429 or 503 if the queue is full."""
    if isinstance(error, HttpError | QueueFull):
        return error.status
    return BAD_REQUEST


def error_body(error: ArtgenError) -> dict[str, Any]:
    """Return the JSON of an error: `{"error": {"message", "hint", "exit_code", "type", "settings"}}`."""
    return {"error": error_fields(error)}


def error_fields(error: ArtgenError) -> dict[str, Any]:
    """Return the message, the hint, the exit code, the type and the settings of an error."""
    return {
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
        "type": type(error).__name__,
        "settings": list(error.settings),
    }


def error_response(error: ArtgenError, path: str = "") -> JSONResponse:
    """Return the response for an error, in the form of the API of a path.

    Args:
        error: error.
        path: path of the request. /v1/ is OpenAI's API, /sdapi/ is A1111's; other paths are artgen's own API.
    """
    status = status_of(error)
    headers = {"Retry-After": "5"} if status in (429, 503) else {}
    if path.startswith("/v1/"):
        from artgen.server.openai import errors as openai_errors

        return JSONResponse(openai_errors.error_body(status, error.message, error.hint), status, headers=headers)
    if path.startswith("/sdapi/"):
        from artgen.server.a1111 import errors as a1111_errors

        return JSONResponse(a1111_errors.error_body(status, error.message, error.hint), status, headers=headers)
    return JSONResponse(error_body(error), status, headers=headers)
