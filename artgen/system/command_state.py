"""Reset the state of modules between two commands that run in one process, the worker.

Each module that stores a value for one command (the content of stdin, a console, the content of a file) registers a
function here that removes the value. A value that depends only on artgen's own files and on the arguments of its
function needs no reset. `tests/unit/test_command_state.py` checks that each cache and each global value is one of both.
"""

from collections.abc import Callable
from typing import Any, TypeVar

_CachedFunction = TypeVar("_CachedFunction", bound=Any)
_Reset = TypeVar("_Reset", bound=Callable[[], object])

_resets: list[Callable[[], object]] = []


def register_reset(reset: _Reset) -> _Reset:
    """Call a function at the end of each command of the worker. An ordinary process never calls it."""
    _resets.append(reset)
    return reset


def cleared_after_command(cached: _CachedFunction) -> _CachedFunction:
    """Clear the cache of a function at the end of each command. Use as a decorator above `functools.cache`."""
    register_reset(cached.cache_clear)
    return cached


def reset_command_state() -> None:
    """Call all registered functions."""
    for reset in _resets:
        reset()
