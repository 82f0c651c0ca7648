"""Define the entries of prompt files and parse their setting names and values."""

import contextlib
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, UsageError
from artgen.spec import settings
from artgen.spec.records import unknown_task_hint
from artgen.spec.requests import TASKS
from artgen.spec.settings import aliases_of, describe_value, options_of, type_of, unknown_setting_error

MAX_JOBS = 200_000
"""Maximum number of jobs of a batch. The plan of a job takes 2 kB."""

LINE_SETTINGS: dict[str, type] = {
    name: group
    for group in settings.SETTING_GROUPS
    for name, setting in settings.settings_of(group).items()
    if setting.in_prompt_file
}
"""Settings that are valid in a prompt file -> the group that declares them."""

OUTPUT_SETTINGS = tuple(name for name, group in LINE_SETTINGS.items() if group is settings.OutputSettings)
"""Settings of the image file that a line of a prompt file may contain."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Represent one job of a prompt file or an image folder, before validation.

    Attributes:
        source: file that contains the entry, or `stdin`.
        line: line number, counted from 1; 0 for an image of a folder.
        setting_values: setting name -> value, and `task`.
        defaults: defaults section of the file, used for settings that `setting_values` does not contain.
        notes: what is ignored or converted, one sentence each.
    """

    source: str
    line: int
    setting_values: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineError:
    """Represent an invalid line and its error."""

    source: str
    line: int
    error: ArtgenError

    @property
    def location(self) -> str:
        """Return `prompts.txt:12`, or only the source without a line number."""
        return location(self.source, self.line)


def location(source: str, line: int) -> str:
    """Return the location of a job or an error: `prompts.txt:12`."""
    return f"{source}:{line}" if line else source


def ignore_note(text: str) -> None:
    """Ignore a note."""


def normal_key(name: str) -> str:
    """Return a key in lower case with underscores in place of dashes and spaces: `Negative Prompt`, `cfg-scale`."""
    return re.sub(r"[-\s]+", "_", name.strip()).casefold()


def setting_name(name: str) -> str:
    """Return the setting for a key or an option name: `guidance` and `CFG scale` are `guidance_scale`.

    Raises:
        UsageError: the setting is unknown. The hint contains similar names.
    """
    key = normal_key(name)
    setting = key if key in LINE_SETTINGS or key == "task" else _SETTING_ALIASES.get(key)
    if setting is None:
        raise UsageError(*unknown_setting_error(name, (*LINE_SETTINGS, "task")))
    return setting


def parse_text_value(name: str, text: str) -> Any:
    """Parse the value of a setting from text.

    Raises:
        UsageError: the text does not have the type of the setting.
    """
    return text if name == "task" else settings.parse_value(LINE_SETTINGS[name], name, text)


def parse_data_value(name: str, value: Any) -> Any:
    """Convert a JSON or YAML value to the type of a setting. A seed, a sigma, a class and `hires` can be numbers.

    A seed can also be a list.

    Raises:
        UsageError: the value does not have the type of the setting.
    """
    if name == "task":
        if not isinstance(value, str) or value not in TASKS:
            raise UsageError(f"Cannot use {describe_value(value)} as a task: it is unknown.", unknown_task_hint(value))
        return value
    if name == "seed" and not isinstance(value, str | bool):
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
            raise UsageError(
                f"Cannot use {describe_value(value)} as a seed: it is not an integer or a list of integers."
            )
        return ",".join(map(describe_value, parts))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (name in ("sigma", "hires") or (name == "class_label" and isinstance(value, int))):
        value = describe_value(value)
    kind, _ = type_of(LINE_SETTINGS[name], name)
    if kind is Path and isinstance(value, str):
        value = Path(value)
    elif kind is tuple and isinstance(value, str | list):
        value = tuple(value) if isinstance(value, list) else (value,)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # the check of the limits reports a number that is too large
            value = float(value)
    _validate_for_a_task(name, value)
    return value


def _validate_for_a_task(name: str, value: Any) -> None:
    """Check a value for the tasks that declare the setting. The request of the line checks it for its own task.

    Raises:
        UsageError: no task takes the value.
    """
    error = None
    for group in (LINE_SETTINGS[name], settings.UpscaleMethod):
        if name in settings.options_of(group):
            try:
                settings.validate(group(**{name: value}), (name,))
            except UsageError as found:
                error = error or found
            else:
                return
    if error is not None:
        raise error


def accepted_settings(task: str) -> set[str]:
    """Return the settings that the lines of a task take."""
    accepted = {*options_of(TASKS[task].request_class), "task", "count", *OUTPUT_SETTINGS}
    if "prompt" in accepted:
        accepted.add("combinatorial")
    return accepted | {"size"} if "width" in accepted else accepted


def defaults_of_task(
    setting_values: Mapping[str, Any], defaults: Mapping[str, Any], optional: Container[str]
) -> dict[str, Any]:
    """Return the defaults of a line without the user's defaults that have another meaning in its task.

    The strength of the environment is the strength of img2img. `artgen upscale` reads the table `[upscale]` instead.

    Args:
        setting_values: settings of the line.
        defaults: settings that apply if the line does not contain them.
        optional: defaults that were not typed.
    """
    if setting_values.get("task") != "upscale":
        return dict(defaults)
    other = options_of(settings.UpscaleMethod)
    return {name: value for name, value in defaults.items() if name not in other or name not in optional}


def merge_defaults(setting_values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a line, with the defaults that its task takes and that do not contradict the line."""
    if not defaults:
        return dict(setting_values)
    task = setting_values.get("task", defaults.get("task", "txt2img"))
    if task not in TASKS:
        return dict(setting_values)
    accepted = accepted_settings(task)
    for name in setting_values.keys() & LINE_SETTINGS.keys():
        accepted.difference_update(settings.settings_of(LINE_SETTINGS[name])[name].excludes)
    if re.search(r"\d-|,", str(setting_values.get("seed", ""))):
        accepted.discard("count")  # A list of seeds determines the number of images.
    return {**{name: value for name, value in defaults.items() if name in accepted}, **setting_values}


_SETTING_ALIASES: dict[str, str] = {
    alias: meant.setting
    for alias, meant in aliases_of({name: options_of(group)[name] for name, group in LINE_SETTINGS.items()}).items()
}
