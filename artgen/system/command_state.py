"""Reset the state that modules have for one command. A resident process runs many commands one after another."""

from collections.abc import Callable
from typing import Any

_resets: list[Callable[[], Any]] = []


def reset_before_command(function: Callable[[], Any]) -> None:
    """Register a function that resets the state of a module, such as the `clear` of a dictionary.

    A module registers the function when it is imported. An ordinary process runs one command and never calls it.
    """
    _resets.append(function)


def reset_command_state() -> None:
    """Call all registered functions. A resident process calls this before each command."""
    for function in _resets:
        function()
