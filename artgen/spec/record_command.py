"""Write the command line that generates an image with the settings of its record."""

import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from artgen.spec.requests import TASKS
from artgen.spec.settings import Setting, options_of, type_of

MAX_COMMAND_CHARS = 20_000
"""Limit of a command line; a longer one cannot be pasted into every terminal."""

_IMPLIED_VALUES: Mapping[str, object] = {
    "prompt_weights": "a1111",
    "long_prompt": "chunk",
    "safety_checker": True,
    "vae_tiling": False,
    "background": "white",
}
"""Recorded defaults of settings whose default is unset in the request."""

_POSITIONAL_SETTINGS = ("image", "prompt")
"""Settings without an option name in the command line, in their order."""

_MACHINE_SETTINGS = frozenset({"device", "dtype"})
"""Settings that the machine selects."""


def record_command(record: Mapping[str, Any]) -> str:
    """Return `artgen TASK ...` with the recorded settings that differ from the defaults, quoted for a POSIX shell.

    File names have no folders, as in the record. `artgen replay` uses the whole record and is exact; the command line
    is for a person who changes it. The values of the record are untrusted: each is one quoted argument.

    Args:
        record: record of artgen, or the settings of another tool in artgen's names.

    Returns:
        The command; empty if the task is unknown, or if the command cannot be pasted into a terminal.
    """
    task = record.get("task", "txt2img")
    if not isinstance(task, str) or task not in TASKS:
        return ""
    words = ["artgen", task]
    request_class = TASKS[task].request_class
    declared = options_of(request_class)
    positionals = [name for name in _POSITIONAL_SETTINGS if name in declared]
    for name in positionals:
        value = record.get(name)
        if isinstance(value, str) and value:
            words += [f"--{name}={value}"] if value.startswith("-") else [value]
    for name, field in declared.items():
        setting: Setting = field.metadata["setting"]
        value = record.get(name)
        default = None if field.default is MISSING else field.default
        is_left_out = name in positionals or name in _MACHINE_SETTINGS or not setting.recorded
        if is_left_out or value in (None, "", default, [], _IMPLIED_VALUES.get(name)):
            continue
        words += _option(name, setting, value, is_switch=type_of(request_class, name)[0] is bool)
    return shell_text(words)


def shell_text(words: Sequence[str]) -> str:
    """Return a command for a POSIX shell that can be pasted into a terminal.

    The words are untrusted. A control character in quotes still edits the line of a shell: Ctrl-U deletes an opening
    quote. A command with such characters is not returned.

    Args:
        words: the command and its arguments.

    Returns:
        The quoted command; empty if a word contains a control character other than a line break, or if the command is
        longer than `MAX_COMMAND_CHARS`.
    """
    command = shlex.join(words)
    is_safe = not any(unicodedata.category(each) == "Cc" and each != "\n" for each in command)
    return command if is_safe and len(command) <= MAX_COMMAND_CHARS else ""


def _option(name: str, setting: Setting, value: Any, *, is_switch: bool) -> list[str]:
    """Return the words of an option. A list is an option for each value."""
    flag = (setting.flags[-1] if setting.flags else f"--{name.replace('_', '-')}").partition("/")[0]
    if is_switch:
        return [flag if value is True else f"--no-{name.replace('_', '-')}"] if isinstance(value, bool) else []
    words: list[str] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, bool | dict | list):
            continue
        text = str(item)
        words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return words
