"""Configure a process that runs nothing but artgen: no garbage collection during imports, and a fast exit."""

import atexit
import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator

_owns_process = False
_initial_environment: dict[str, str] | None = None
_start_time = time.monotonic()
_exit_code: int | None = None
_end_command: Callable[[int], object] | None = None
_is_abandoned = False


class CommandAbandoned(KeyboardInterrupt):
    """Stop a command of the worker whose client has its exit code already, or has disconnected."""


def configure_process() -> None:
    """Declare that this process runs nothing but artgen. `paused_gc` and `fast_exit` then have an effect."""
    global _owns_process, _initial_environment
    _owns_process = True
    _initial_environment = dict(os.environ)
    atexit.register(_exit_fast)  # atexit runs handlers in reverse order, so this handler runs last.


def remove_invalid_variables() -> list[str]:
    """Remove the environment variables that would stop the import of huggingface_hub; return their names."""
    removed = []
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        try:
            int(os.environ.get(name, "0"))
        except ValueError:
            del os.environ[name]
            removed.append(name)
    return removed


def initial_environment() -> dict[str, str]:
    """Return the environment variables with which this process started, if artgen owns it; else the present ones."""
    return dict(os.environ) if _initial_environment is None else _initial_environment


def owns_process() -> bool:
    """Return whether this process runs nothing but artgen."""
    return _owns_process


def elapsed_seconds() -> float:
    """Return the seconds since this module was imported, which is the first module of the command line."""
    return time.monotonic() - _start_time


def is_worker() -> bool:
    """Return whether this process is the worker, which runs several commands one after another."""
    return _end_command is not None


def start_command(end_command: Callable[[int], object]) -> None:
    """Start a command of the worker: `elapsed_seconds` counts from now.

    Args:
        end_command: is called by `exit_at_once`, with the exit code. It returns.
    """
    global _start_time, _end_command, _is_abandoned
    _start_time, _end_command, _is_abandoned = time.monotonic(), end_command, False


def exit_at_once(exit_code: int) -> None:
    """End the process without exit handlers. In the worker, end the command for its client, and return.

    The rest of the command must then call `stop_if_abandoned` before it saves anything.
    """
    if _end_command is None:
        os._exit(exit_code)
    _end_command(exit_code)


def abandon_command() -> None:
    """Let `stop_if_abandoned` stop the command of the worker. Call this function in any thread."""
    global _is_abandoned
    _is_abandoned = True


def stop_if_abandoned() -> None:
    """Stop a command of the worker whose result nobody needs. Call this before a file is written, and between steps.

    Raises:
        CommandAbandoned: the command was abandoned.
    """
    if _is_abandoned:
        raise CommandAbandoned


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """Disable garbage collection during imports in the block. Exclude the objects of the imports from later runs.

    Outside such a block garbage collection is always enabled. If the block imports nothing, no object is excluded:
    later objects, such as a replaced model, must be collected. In the worker no object is excluded after the import of
    torch, for the same reason. In a process that artgen does not own, this function does nothing.
    """
    if not _owns_process or not gc.isenabled():
        yield
        return
    num_modules, may_have_models = len(sys.modules), is_worker() and "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules and not may_have_models:
            gc.freeze()
        gc.enable()


@contextlib.contextmanager
def fast_exit() -> Iterator[None]:
    """Exit through `os._exit` after the block, which skips the destruction of thousands of modules."""
    global _exit_code
    try:
        yield
    except SystemExit as system_exit:
        if system_exit.code is None or isinstance(system_exit.code, int):
            _exit_code = int(system_exit.code or 0)
        raise


def _exit_fast() -> None:
    """End the process. All other exit handlers have run."""
    if _exit_code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            return  # Python reports the error.
    os._exit(_exit_code)


def trim_heap() -> None:
    """Return unused memory of the heap to the system, if the C library is glibc, which keeps it otherwise."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
