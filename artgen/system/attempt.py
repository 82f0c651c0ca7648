"""Report the progress of a command, so that a second attempt can continue after a crash.

A command in the worker is the first attempt: it reports its progress to the client. If the worker crashes, the client
runs the command in its own process: the second attempt. It uses the same random bits, keeps the completed images, and
does not print a line twice. In an ordinary process without a first attempt, the functions of this module do nothing.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError

if TYPE_CHECKING:
    from random import Random

Send = Callable[..., None]


class FirstAttempt:
    """Store what the first attempt reported.

    Attributes:
        entropy: random bits of the command, 0 to 2**256 - 1.
        plan: numbers of the jobs in their order; None before the first job starts.
        results: reported results by number: `path`, `frames`, `model` and `error`.
        saved: images of a batch that were saved and not reported: `record` and `frames` by number.
        printed_bytes: number of bytes of stdout after the last reported result.
        note: note for the user; empty after it was printed.
    """

    def __init__(self, entropy: int) -> None:
        self.entropy = entropy
        self.plan: list[int] | None = None
        self.results: dict[int, dict[str, Any]] = {}
        self.saved: dict[int, dict[str, Any]] = {}
        self.printed_bytes = 0
        self.note = "The worker ended unexpectedly. The command continues in this process."


_send: Send | None = None
_first: FirstAttempt | None = None
_random: "Random | None" = None


def start(send: Send, entropy: int) -> None:
    """Report the progress of a command: the first attempt.

    Args:
        send: sends a message: its type and its values.
        entropy: random bits of the command.
    """
    _set(send, None, entropy)


def continue_from(first: FirstAttempt) -> None:
    """Continue a command in this process: the second attempt."""
    _set(None, first, first.entropy)


def end() -> None:
    """End the report of a command."""
    _set(None, None, None)


def _set(send: Send | None, first: FirstAttempt | None, entropy: int | None) -> None:
    global _send, _first, _random
    from random import Random  # Lazy import: `--help` does not need its dependency hashlib.

    _send, _first, _random = send, first, None if entropy is None else Random(entropy)


def report(kind: str, **values: Any) -> None:
    """Report progress if this process runs the first attempt of a command. See `artgen.worker_process.protocol`."""
    if _send is not None:
        _send(kind, **values)


def is_reported() -> bool:
    """Return whether this process runs the first attempt of a command."""
    return _send is not None


def first_attempt() -> FirstAttempt | None:
    """Return the crashed attempt that this process continues; None in other processes."""
    return _first


def has_results() -> bool:
    """Return whether this process continues an attempt that had started to generate images."""
    return _first is not None and _first.plan is not None


def take_note() -> str:
    """Return the note that this process continues a crashed attempt, once; otherwise an empty text."""
    if _first is None:
        return ""
    note, _first.note = _first.note, ""
    return note


def reported_error(result: Mapping[str, Any]) -> ArtgenError | None:
    """Return the error of a reported result; None if it has no error."""
    if result["error"] is None:
        return None
    message, hint, exit_code = result["error"]
    error = ArtgenError(message, hint)
    error.exit_code = exit_code
    return error


def random_bits(count: int) -> int:
    """Return a random number of `count` bits. Both attempts of a command get the same numbers."""
    if _random is None:
        import secrets  # Lazy import, as in `_set`.

        return secrets.randbits(count)
    return _random.getrandbits(count)
