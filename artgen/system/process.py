"""Whose process this is: in one that runs nothing but artgen, what libraries would load for others can be left out."""

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator

_owns_process = False
_exit_code: int | None = None


def configure_process() -> None:
    """Says that this process runs nothing but artgen.

    Collecting garbage while modules load is for nothing, so it stops until `settle`.
    """
    global _own
    _owns_process = True
    gc.disable()
    atexit.register(_exit_fast)  # the first one registered is the last one called


def owns_process() -> bool:
    """Whether this process runs nothing but artgen."""
    return _owns_process


def freeze_gc() -> None:
    """Collects garbage from now on, but not among what is there already; does nothing in a process of others.

    Once: what comes later, such as a model that another takes the place of, has to be collected.
    """
    if _owns_process and not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def fast_exit() -> Iterator[None]:
    """Around all that this process does: it then ends without taking thousands of modules down one by one."""
    global _code
    try:
        yield
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            _exit_code = int(leaving.code or 0)
        raise


def _exit_fast() -> None:
    """Ends the process, once every other function that was to be called at the end has been."""
    if _exit_code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            return  # Python has its own way of saying so
    os._exit(_exit_code)
