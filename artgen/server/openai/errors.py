"""Create errors in the form of OpenAI's API. Its clients select the class of the exception by the status."""

import re
from collections.abc import Mapping
from typing import Any

from artgen.errors import ArtgenError, FilteredError
from artgen.server.blocking_api import RequestError, is_unknown_model

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "not_found", 413: "request_too_large", 429: "rate_limit_exceeded"}


class FieldError(RequestError):
    """Report an invalid field of a request.

    Attributes:
        message: one sentence: what was expected, and what was received.
        param: name of the field; None if no field is the reason.
        code: code of OpenAI's API.
        status: HTTP status.
    """

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", status: int = 400) -> None:
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response."""
        return error_body(self.status, self.message, param=self.param, code=self.code)


def error_body(
    status: int, message: str, hint: str = "", *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the JSON body of a response.

    Args:
        status: HTTP status, 400 to 599.
        message: what failed and why.
        hint: what the user can do; may be empty.
        param: name of the invalid field.
        code: code of OpenAI's API; None: the code of the status.
    """
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    text = f"{message} {hint}".strip()
    return {"error": {"message": text, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def job_error_body(status: int, error: ArtgenError) -> dict[str, Any]:
    """Return the JSON body for an error of a job.

    Args:
        status: HTTP status of the error.
        error: error of the validation or of the generation.
    """
    code = None
    if isinstance(error, FilteredError):
        code = "content_policy_violation"
    elif is_unknown_model(error):
        code = "model_not_found"
    param = "model" if code == "model_not_found" else _param(error)
    return error_body(status, error.message, error.hint, param=param, code=code)


_PARAMS: Mapping[str, str] = {"width": "size", "height": "size", "count": "n"}
"""Names of artgen's settings -> fields of OpenAI's API."""


_SETTING = re.compile(r"(?:--)?([a-z][a-z_-]*) must be ", re.ASCII)
"""Name of the setting at the start of a message about an invalid value."""


def _param(error: ArtgenError) -> str | None:
    match = _SETTING.match(error.message)
    names = error.settings or ((match[1].replace("-", "_"),) if match else ())
    return _PARAMS.get(names[0], names[0]) if names else None
