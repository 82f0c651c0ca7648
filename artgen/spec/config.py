"""The user's own defaults: a file in the user's configuration folder, and one beside the work at hand.

Order, strongest first: a flag, `ARTGEN_*` in the environment, `artgen.toml` in the current folder, the user's
`config.toml`, the built-in default. Both files are TOML: settings by name at the top hold for every command, a table
named after a command holds for that one::

    model = "sdxl"

    [img2img]
    strength = 0.5
"""

import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from artgen.errors import InputFileError, OutputError, UsageError
from artgen.spec import settings
from artgen.spec.settings import options_of, unknown_setting_error
from artgen.system.files import write_atomically

PROJECT_FILE = "artgen.toml"

CONFIGURABLE_SETTINGS: dict[str, type] = {
    name: group
    for group in settings.SETTING_GROUPS
    for name, setting in settings.settings_of(group).items()
    if setting.in_config and not setting.per_call
}
"""Settings that a file may hold, and the group that declares each."""

_CONFIGURABLE_FIELDS = {name: options_of(group)[name] for name, group in CONFIGURABLE_SETTINGS.items()}


def user_config_folder() -> Path:
    """Where artgen keeps a user's own files: `config.toml` and `aliases.json`."""
    return Path(platformdirs.user_config_dir("artgen", appauthor=False))


def user_config_file() -> Path:
    """The user's configuration file; it need not exist."""
    return user_config_folder() / "config.toml"


def load_defaults(command: str) -> dict[str, dict[str, Any]]:
    """What the files say for a command, in the form that Typer takes as `default_map`.

    Raises:
        InputFileError: a file does not parse, or holds what it cannot.
    """
    if command not in settings.TASK_NAMES:
        return {}
    merged = {**_command_settings(user_config_file(), command), **_command_settings(Path(PROJECT_FILE), command)}
    return {command: merged}


def lora_folder() -> Path | None:
    """Where the user keeps LoRAs: `ARTGEN_LORA_FOLDER`, or `lora_folder` in a file; None when neither says.

    Raises:
        InputFileError: a file does not parse, or holds what it cannot.
    """
    said = os.environ.get("ARTGEN_LORA_FOLDER") or {
        **read_config_file(user_config_file()),
        **read_config_file(Path(PROJECT_FILE)),
    }.get("lora_folder")
    return Path(os.path.expanduser(said)) if said else None  # noqa: PTH111 - Path's raises for an unknown ~user


def read_config_file(path: Path) -> dict[str, Any]:
    """One configuration file, checked; empty when it is not there.

    Raises:
        InputFileError: it does not parse or holds an unknown setting or a value outside its limits.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"The configuration file {path} cannot be read: {error}.") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputFileError(
            f"The configuration file {path} is not valid TOML: {error}.", "Mend it by hand."
        ) from error
    content = {
        name: _canonical(value) if name in settings.TASK_NAMES and isinstance(value, dict) else value
        for name, value in _canonical(content).items()
    }
    for name, value in content.items():
        values = value if name in settings.TASK_NAMES and isinstance(value, dict) else {name: value}
        for key, item in values.items():
            _check_setting(path, key, item)
    return content


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    return settings.canonical_keys(values, _CONFIGURABLE_FIELDS)


def set_value(name: str, text: str, path: Path) -> None:
    """Writes one setting into a file and leaves the rest, comments included, as it is.

    Args:
        name: a setting, or `command.setting`.
        text: its value as one would type it; empty removes the setting.

    Raises:
        UsageError: no such setting, or not a value of it.
        InputFileError: what is in the file is no configuration; it is left as it is.
        OutputError: the path cannot be used, or the file cannot be written.
    """
    import tomlkit

    command, _, key = name.rpartition(".")
    if command and command not in settings.TASK_NAMES:
        raise UsageError(f"There is no command called {command!r}.", f"Commands: {', '.join(settings.TASK_NAMES)}.")
    aliases = settings.aliases_of(_CONFIGURABLE_FIELDS)
    if key not in CONFIGURABLE_SETTINGS and key in aliases:
        key = aliases[key].setting
    if key not in CONFIGURABLE_SETTINGS:
        raise UsageError(*unknown_setting_error(key, CONFIGURABLE_SETTINGS))
    value = settings.parse_value(CONFIGURABLE_SETTINGS[key], key, text)
    settings.validate(CONFIGURABLE_SETTINGS[key](**{key: value}))
    try:
        read_config_file(path)
    except InputFileError as error:
        if isinstance(error.__cause__, OSError):  # a folder in its place, a file as its folder
            raise OutputError(error.message, "Move away what is in its place.") from error
        raise
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    table = document.setdefault(command, tomlkit.table()) if command else document
    for alias, meant in aliases.items():
        if meant.setting == key and alias not in CONFIGURABLE_SETTINGS:
            table.pop(alias, None)
    if value is None or text == "":
        table.pop(key, None)
    else:
        table[key] = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    write_atomically(path, tomlkit.dumps(document))


def _command_settings(path: Path, command: str) -> dict[str, Any]:
    content = read_config_file(path)
    shared = {name: value for name, value in content.items() if not isinstance(value, dict)}
    return {**shared, **content.get(command, {})}


def _check_setting(path: Path, name: str, value: Any) -> None:
    if name not in CONFIGURABLE_SETTINGS:
        message, hint = unknown_setting_error(name, CONFIGURABLE_SETTINGS)
        raise InputFileError(f"{path}: {message}", hint)
    group = CONFIGURABLE_SETTINGS[name]
    kind, _ = settings.type_of(group, name)
    try:
        if kind is Path and isinstance(value, str):
            value = Path(value)
        settings.validate(group(**{name: tuple(value) if kind is tuple and isinstance(value, list) else value}))
    except UsageError as error:
        raise InputFileError(f"{path}: {error.message}", error.hint) from error
