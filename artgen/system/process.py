"""Configure a process that runs nothing but artgen: no garbage collection during imports, and a fast exit."""

import atexit
import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator

_owns_process = False
_start_time = time.monotonic()
_exit_code: int | None = None


def configure_process() -> None:
    """Declare that this process runs nothing but artgen. `paused_gc` and `fast_exit` then have an effect."""
    global _owns_process
    _owns_process = True
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


def owns_process() -> bool:
    """Return whether this process runs nothing but artgen."""
    return _owns_process


def elapsed_seconds() -> float:
    """Return the seconds since this module was imported, which is the first module of the command line."""
    return time.monotonic() - _start_time


def restart_clock() -> None:
    """Let `elapsed_seconds` count from now: a resident process starts a command."""
    global _start_time
    _start_time = time.monotonic()


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """Disable garbage collection during imports in the block. Exclude the objects of the imports from later runs.

    Outside such a block garbage collection is always enabled. If the block imports nothing, no object is excluded:
    later objects, such as a replaced model, must be collected. In a process that artgen does not own, this function
    does nothing.
    """
    if not _owns_process or not gc.isenabled():
        yield
        return
    num_modules = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules:
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
