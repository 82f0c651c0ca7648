"""Create errors in the form of A1111's API."""

from typing import Any

from artgen.server.blocking_api import RequestError


class FieldError(RequestError):
    """Report an invalid field of a request.

    Attributes:
        message: one sentence: what was expected, and what was received.
        field: name of the field.
        status: HTTP status: 422 as A1111, 404 for an unknown model or sampler.
    """

    def __init__(self, message: str, field: str, status: int = 422) -> None:
        self.message = message
        self.field = field
        self.status = status
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response."""
        if self.status != 422:
            return error_body(self.status, self.message)
        return {"detail": [{"loc": ["body", self.field], "msg": self.message, "type": "value_error"}]}


def error_body(status: int, message: str, hint: str = "") -> dict[str, Any]:
    """Return the JSON body of a response.

    Args:
        status: HTTP status, 400 to 599.
        message: what failed and why.
        hint: what the user can do; may be empty.
    """
    return {"error": f"HTTP {status}", "detail": message, "body": "", "errors": f"{message} {hint}".strip()}
