"""Start, stop and describe the worker, the resident process that runs commands of the command line."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from artgen.engine.loading.loaded_models import LoadedModel
from artgen.errors import ArtgenError, OutputError, RefusedError, UsageError
from artgen.spec.python_text import for_python
from artgen.spec.worker_limits import worker_limits
from artgen.worker_process.client import settings
from artgen.worker_process.client.socket_file import UnsafeFolder, UnusableSocket, WorkerUnavailable


@dataclass(frozen=True)
class WorkerStatus:
    """Describe the worker.

    Attributes:
        running: whether a worker runs. If not, the other fields have no value.
        pid: process ID.
        version: version of artgen.
        since: time of the start, UTC, ISO 8601.
        idle_seconds: seconds since the end of the last command; 0 while a command runs.
        command: command that runs, at most 1,000 characters; null if none runs.
        waiting: number of commands that wait.
        num_commands: number of commands that ended.
        models: loaded models, most recently used first.
        max_loaded: maximum number of loaded models.
        keep_alive_seconds: idle time after which the worker exits.
        memory_bytes: main memory that the worker uses; null if the system does not report it.
        difference: why commands with the present environment run in ordinary processes, such as another version; null
            if they use the worker.
    """

    running: bool
    pid: int | None = None
    version: str | None = None
    since: str | None = None
    idle_seconds: float | None = None
    command: str | None = None
    waiting: int = 0
    num_commands: int = 0
    models: tuple[LoadedModel, ...] = ()
    max_loaded: int | None = None
    keep_alive_seconds: float | None = None
    memory_bytes: int | None = None
    difference: str | None = None


@for_python()
def worker_status() -> WorkerStatus:
    """Return the state of the worker.

    Raises:
        RefusedError: other users have access to the folder of the worker's socket.
        OutputError: the worker does not answer.
    """
    from artgen.worker_process.client import control

    if not settings.IS_SUPPORTED:
        return WorkerStatus(running=False)
    try:
        status = control.worker_status()
    except WorkerUnavailable as reason:
        raise _error("use", reason) from reason
    return WorkerStatus(running=False) if status is None else _parse_status(status)


@for_python()
def start_worker(*, max_loaded: int | None = None, keep_alive: str | None = None) -> WorkerStatus:
    """Start the worker, unless one runs. Functions of the Python API do not use it; commands do.

    Args:
        max_loaded: maximum number of loaded models, 1 to 100; None: the setting, else 2.
        keep_alive: idle time after which the worker exits, such as `10m`; None: the setting, else 10 minutes.

    Raises:
        UsageError: an argument is invalid, or the system is Windows.
        InputFileError: a configuration file is invalid.
        RefusedError: other users have access to the folder of the worker's socket.
        OutputError: the socket cannot be created.
        ArtgenError: the worker ended before it accepted a connection.
    """
    limits = worker_limits(max_loaded, keep_alive)
    if not settings.IS_SUPPORTED:
        raise UsageError("The worker is not supported on Windows.", "All commands run in ordinary processes.")
    from artgen.worker_process.client.start import start_worker as start

    try:
        start((str(limits.max_loaded), f"{limits.keep_alive_seconds}s"))
    except WorkerUnavailable as reason:
        raise _error("start", reason) from reason
    return worker_status()


@for_python()
def stop_worker() -> bool:
    """End the worker at once, and wait for its end. Commands that run or wait continue in their own processes.

    Returns:
        Whether a worker ran.

    Raises:
        RefusedError: other users have access to the folder of the worker's socket.
        OutputError: the process does not end.
    """
    from artgen.worker_process.client import control

    if not settings.IS_SUPPORTED:
        return False
    try:
        return control.stop_worker()
    except WorkerUnavailable as reason:
        raise _error("stop", reason) from reason


def _error(verb: str, reason: WorkerUnavailable) -> ArtgenError:
    message = f"Cannot {verb} the worker: {reason}."
    if isinstance(reason, UnsafeFolder):
        return RefusedError(message, "Remove it, or set XDG_RUNTIME_DIR to a folder that only you can open.")
    if isinstance(reason, UnusableSocket):
        return OutputError(message, "Set XDG_RUNTIME_DIR to a writable folder with a short path.")
    if verb == "start":
        return ArtgenError(message)
    return OutputError(message, "To end the worker: artgen worker stop")


def _parse_status(status: dict[str, Any]) -> WorkerStatus:
    """Convert a reply, which has other keys if the worker has another version."""
    models = status.get("models", [])
    return WorkerStatus(
        running=True,
        **{name: status.get(name) for name in ("pid", "version", "idle_seconds", "command", "max_loaded")},
        **{name: status.get(name) for name in ("keep_alive_seconds", "memory_bytes", "difference")},
        since=datetime.fromtimestamp(status.get("since", 0), UTC).isoformat(timespec="seconds"),
        waiting=status.get("waiting", 0),
        num_commands=status.get("num_commands", 0),
        models=tuple(LoadedModel(**model) for model in models),
    )
