"""Define the errors of the connection to a server, and convert the errors that a server reports."""

from typing import Any

from artgen import errors
from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError, UsageError

TOKEN_HINT = "export ARTGEN_SERVER_TOKEN=TOKEN"

MAX_TEXT_CHARS = 2000
"""Longest text of a server that is printed."""

_OF_SERVER_FILES = (ModelUnavailableError.exit_code, errors.InputFileError.exit_code)
"""Exit codes of errors whose hints are about the files of the server."""

_CLASSES: dict[int, type[ArtgenError]] = {
    each.exit_code: each
    for each in (
        UsageError,
        errors.InputFileError,
        ModelUnavailableError,
        RefusedError,
        errors.MemoryExhaustedError,
        errors.FilteredError,
        errors.NonFiniteError,
        errors.DeviceLostError,
    )
}


class ServerError(ModelUnavailableError):
    """Report that a server is not reachable, or that it ended during a job. The job is not the cause."""


class QueueFullError(ServerError):
    """Report that a server accepts no more jobs at the moment."""

    exit_code = 75


def unreachable_error(url: str, reason: str) -> ServerError:
    """Return the error for a server that cannot be reached."""
    return ServerError(
        f"Cannot connect to the server '{url}': {reason}.",
        "Start it with `artgen serve --host HOST` on that machine. To use this machine: --server none",
    )


def ended_error(url: str) -> ServerError:
    """Return the error for a server that ended, or was started again, during a job."""
    return ServerError(f"The server '{url}' ended during the job.", "Run the same command again.")


def foreign_error(url: str) -> UsageError:
    """Return the error for a program that is not a server of artgen."""
    return UsageError(
        f"Cannot use the server '{url}': it is not a server of artgen.", "Use the address that `artgen serve` prints."
    )


def version_error(url: str, found: str, own: str) -> UsageError:
    """Return the error for a server with another version of artgen."""
    return UsageError(
        f"Cannot use the server '{url}': it has artgen {found}, and this program has artgen {own}.",
        f"Install the same version on both machines: pip install 'artgen=={found}'",
    )


def token_error(url: str, *, has_token: bool) -> RefusedError:
    """Return the error for a missing or wrong token."""
    problem = "the token is wrong" if has_token else "the server requires a token"
    return RefusedError(f"Cannot use the server '{url}': {problem}.", TOKEN_HINT)


def error_of(values: Any) -> ArtgenError | None:
    """Return the error in the JSON of a server, `{"message", "hint", "exit_code", "settings"}`; None if it has none."""
    if not isinstance(values, dict) or not isinstance(values.get("message"), str):
        return None
    exit_code, hint, names = values.get("exit_code"), values.get("hint"), values.get("settings")
    if exit_code in _OF_SERVER_FILES and isinstance(hint, str) and hint:
        hint = f"On the server: {hint}"
    error = _CLASSES.get(exit_code if isinstance(exit_code, int) else 1, ArtgenError)(
        values["message"][:MAX_TEXT_CHARS],
        hint[:MAX_TEXT_CHARS] if isinstance(hint, str) else "",
        settings=tuple(map(str, names)) if isinstance(names, list) else (),
    )
    if isinstance(exit_code, int) and 0 < exit_code < 126:
        error.exit_code = exit_code
    return error
