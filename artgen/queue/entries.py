"""One line of a prompt file, before it is known to make sense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, UsageError
from artgen.spec import settings
from artgen.spec.requests import TASKS
from artgen.spec.settings import aliases_of, options_of, type_of, unknown_setting_error

LINE_SETTINGS: dict[str, type] = {
    name: group
    for group in settings.SETTING_GROUPS
    for name, setting in settings.settings_of(group).items()
    if setting.in_prompt_file
}
"""Settings that a line may hold, and the group that declares each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A job as a file or folder words it.

    Attributes:
        source: the file's name as given, or `stdin`.
        line: counted from 1; 0 where lines mean nothing (a folder of pictures).
        setting_values: setting name -> value; `task` beside them.
        defaults: what the file says for lines that say nothing.
    """

    source: str
    line: int
    setting_values: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that cannot become a job, and why."""

    source: str
    line: int
    error: ArtgenError

    @property
    def location(self) -> str:
        """`prompts.txt:12`, or the source alone."""
        return location(self.source, self.line)


def location(source: str, line: int) -> str:
    """Where a job or a mistake stands: `prompts.txt:12`."""
    return f"{source}:{line}" if line else source


def setting_name(name: str) -> str:
    """The setting that a key or a flag without its dashes means: `guidance` and `cfg-scale` are `guidance_scale`.

    Raises:
        UsageError: there is no such setting; close names are in the hint.
    """
    plain = name.strip().replace("-", "_").casefold()
    found = plain if plain in LINE_SETTINGS or plain == "task" else _SETTING_ALIASES.get(plain)
    if found is None:
        raise UsageError(*unknown_setting_error(name, (*LINE_SETTINGS, "task")))
    return found


def parse_text_value(name: str, text: str) -> Any:
    """A setting's value written as text.

    Raises:
        UsageError: the text is not of the setting's type.
    """
    return text if name == "task" else settings.parse_value(LINE_SETTINGS[name], name, text)


def parse_data_value(name: str, value: Any) -> Any:
    """A setting's value as JSON or YAML has it; a seed may be a number or a list of them.

    Raises:
        UsageError: the value is not of the setting's type.
    """
    if name == "task":
        if value not in TASKS:
            raise UsageError(f"There is no task called {value!r}.", f"Tasks: {', '.join(TASKS)}.")
        return value
    if name == "seed" and not isinstance(value, str | bool):
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
            raise UsageError(f"seed must be a whole number or a list of them, not {value!r}.")
        return ",".join(map(str, parts))
    kind, _ = type_of(LINE_SETTINGS[name], name)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is tuple and isinstance(value, str | list):
        return tuple(value) if isinstance(value, list) else (value,)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


_SETTING_ALIASES: dict[str, str] = {
    alias: meant.setting
    for alias, meant in aliases_of({name: options_of(group)[name] for name, group in LINE_SETTINGS.items()}).items()
}
