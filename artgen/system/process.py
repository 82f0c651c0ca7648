"""Configure a process that runs nothing but artgen: no garbage collection during imports and a fast exit."""

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator

_owns_process = False
_exit_code: int | None = None


def configure_process() -> None:
    """Declare that this process runs nothing but artgen.

    Garbage collection is disabled during imports; `freeze_gc` enables it again.
    """
    global _owns_process
    _owns_process = True
    gc.disable()
    atexit.register(_exit_fast)  # atexit runs handlers in reverse order, so this handler runs last.


def owns_process() -> bool:
    """Return whether this process runs nothing but artgen."""
    return _owns_process


def freeze_gc() -> None:
    """Enable garbage collection again and exclude the objects that exist now.

    Only the first call has an effect: later objects, such as a replaced model, must be collected. In a process that
    artgen does not own, this function does nothing.
    """
    if _owns_process and not gc.isenabled():
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
