"""Read and write the defaults of the user in `config.toml` and `artgen.toml`.

Priority, highest first: options, `ARTGEN_*` environment variables, `artgen.toml` in the current folder, `config.toml`
in the configuration folder of the user, built-in defaults. Top-level settings apply to all commands; the settings in
the table of a command apply to the command::

    model = "sdxl"

    [img2img]
    strength = 0.5

`artgen.toml` may also contain presets; see `artgen.spec.presets`.
"""

import os
from pathlib import Path
from typing import Any

import platformdirs

from artgen.errors import InputFileError, UsageError
from artgen.spec import settings
from artgen.spec.filter_policies import FILTERS_TABLE, parse_policies
from artgen.spec.quantities import check_quantity
from artgen.spec.settings import options_of, unknown_setting_error
from artgen.spec.toml_text import parse_toml
from artgen.spec.value_checks import check_repeated_keys
from artgen.system.external_data import read_optional

PROJECT_FILE = "artgen.toml"
PRESETS_TABLE = "presets"
"""Table of `artgen.toml` with presets, which are validated when they are used."""
MAX_USER_FILE_BYTES = 1 << 16
HIDDEN_VALUE = "(set)"
"""Text in place of the value of a secret."""

CONFIGURABLE_SETTINGS: dict[str, type] = {
    name: group
    for group in settings.SETTING_GROUPS
    for name, setting in settings.settings_of(group).items()
    if setting.in_config and not setting.per_call
}
"""Settings that a configuration file may contain, each with the group that declares it."""

COMMAND_SETTINGS: dict[str, dict[str, type]] = {
    "upscale": dict.fromkeys(options_of(settings.UpscaleMethod).keys() & CONFIGURABLE_SETTINGS, settings.UpscaleMethod)
}
"""Settings with another meaning in a command. Only the table of the command sets their defaults."""

SHARED_SETTINGS = {name: field for group in settings.CONFIGURED_GROUPS for name, field in options_of(group).items()}
"""Settings that apply to all commands."""

_DISPLAYING_COMMANDS = frozenset(
    {"batch", "control", "noise", "anomaly", "rank", "reconstruct", "sheet", "info", "replay"}
)
"""Commands besides the tasks that show images. Other defaults do not apply to them."""

_REMOTE_COMMANDS = frozenset({"batch", "morph", "replay", "variations"})
"""Commands besides the tasks that a server can run. The default of `server` applies to them."""

CONFIGURABLE_FIELDS = {name: options_of(group)[name] for name, group in CONFIGURABLE_SETTINGS.items()}
"""Fields of these settings."""


_SETTINGS_OF_ONE_CALL = frozenset(
    name for group in settings.SETTING_GROUPS for name in options_of(group) if name not in CONFIGURABLE_SETTINGS
)


def user_config_folder() -> Path:
    """Return the folder of `config.toml` and `aliases.json`."""
    return Path(platformdirs.user_config_dir("artgen", appauthor=False))


def user_config_file() -> Path:
    """Return the path of the user's configuration file. The file may be missing."""
    return user_config_folder() / "config.toml"


def config_files() -> tuple[Path, Path]:
    """Return the paths of the configuration files, highest priority first. The files may be missing."""
    return Path(PROJECT_FILE), user_config_file()


def user_aliases_file() -> Path:
    """Return the path of the user's aliases of models. The file may be missing."""
    return user_config_folder() / "aliases.json"


def load_defaults(command: str) -> dict[str, dict[str, Any]]:
    """Return the defaults of a command, in the format of Typer's `default_map`.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
    """
    if command == "prompt":  # it explains a prompt of txt2img
        return {command: load_defaults("txt2img")["txt2img"]}
    if command in settings.TASK_NAMES:
        project, user = (values for _, values in read_defaults(command))
        return {command: {**user, **project}}
    if command in _DISPLAYING_COMMANDS | _REMOTE_COMMANDS:
        names = [*options_of(settings.DisplaySettings)] if command in _DISPLAYING_COMMANDS else []
        names += ["preset"] if command == "batch" else []
        names += ["server"] if command in _REMOTE_COMMANDS else []
        return {command: {name: value for name in names if (value := shared_setting(name)) is not None}}
    return {}


def read_defaults(command: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return each configuration file with its defaults of a command, highest priority first.

    `batch` has only the settings that apply to all commands, because its jobs have different tasks.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
    """
    command = "txt2img" if command == "prompt" else command
    if command not in (*settings.TASK_NAMES, "batch"):
        return []
    return [(path, _command_settings(path, command)) for path in config_files()]


def lora_folder() -> Path | None:
    """Return the user's folder of LoRAs; see `_folder`."""
    return _folder("lora_folder")


def embedding_folder() -> Path | None:
    """Return the user's folder of embeddings; see `_folder`."""
    return _folder("embedding_folder")


def wildcard_folder() -> Path | None:
    """Return the user's folder of wildcards; see `_folder`."""
    return _folder("wildcard_folder")


def style_folder() -> Path | None:
    """Return the user's folder of styles; see `_folder`."""
    return _folder("style_folder")


def _folder(name: str) -> Path | None:
    """Return a folder from its `ARTGEN_*` variable or a configuration file; None if unset.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
    """
    folder = os.environ.get(f"ARTGEN_{name.upper()}") or shared_setting(name)
    return expand_home(folder) if folder else None


def model_folders() -> list[Path]:
    """Return the user's model folders, from `ARTGEN_MODEL_FOLDERS` (with commas) or a configuration file.

    Raises:
        InputFileError: a file is not valid TOML, or contains an invalid setting.
        UsageError: the variable is not a valid list.
    """
    text = os.environ.get("ARTGEN_MODEL_FOLDERS")
    group = CONFIGURABLE_SETTINGS["model_folders"]
    folders = settings.parse_value(group, "model_folders", text) if text else shared_setting("model_folders") or ()
    return [expand_home(folder) for folder in folders if folder.strip()]


def printable_value(name: str, value: Any) -> Any:
    """Return the value of a setting or a variable for the terminal. The value of a secret is hidden."""
    field = CONFIGURABLE_FIELDS.get(name.removeprefix("ARTGEN_").lower())
    is_secret = field is not None and field.metadata["setting"].is_secret
    return HIDDEN_VALUE if is_secret and value else value


def missing_model_folders() -> list[Path]:
    """Return the model folders that do not exist."""
    return [folder for folder in model_folders() if not os.path.isdir(folder)]  # noqa: PTH112 - Path.is_dir raises


def shared_setting(name: str) -> Any:
    """Return a setting of all commands; `artgen.toml` has precedence. None if it is unset."""
    return {**read_config_file(user_config_file()), **read_config_file(Path(PROJECT_FILE))}.get(name)


def expand_home(folder: str) -> Path:
    """Return a path in which `~` is the home folder of the user."""
    return Path(os.path.expanduser(folder))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user


def is_unreadable(path: Path) -> bool:
    """Return whether a file of the user exists, but cannot be read or is not a regular file of a moderate size.

    Such a file is ignored. The command line prints a note.
    """
    return os.path.lexists(path) and read_optional(path, MAX_USER_FILE_BYTES) is None


def unreadable_files() -> list[Path]:
    """Return the files of the user that exist and are ignored, because they cannot be read."""
    return [path for path in (user_config_file(), Path(PROJECT_FILE), user_aliases_file()) if is_unreadable(path)]


def read_config_file(path: Path) -> dict[str, Any]:
    """Read and validate a configuration file. Return an empty dictionary if the file is missing or unreadable.

    Raises:
        InputFileError: the file is not valid TOML, or contains an unknown setting or a value outside its limits.
    """
    data = read_optional(path, MAX_USER_FILE_BYTES)
    if data is None:
        return {}
    content = parse_toml(data, f"the configuration file '{path}'")
    try:
        content = {
            name: _canonical(value) if name in settings.TASK_NAMES and isinstance(value, dict) else value
            for name, value in _canonical(content).items()
        }
    except UsageError as error:
        raise InputFileError(f"Invalid configuration file '{path}': {error.message}", error.hint) from error
    for name, value in content.items():
        if name == PRESETS_TABLE and path == Path(PROJECT_FILE):
            continue
        if name == FILTERS_TABLE:
            parse_policies(value, path)
            continue
        values = value if name in settings.TASK_NAMES and isinstance(value, dict) else {name: value}
        for key, item in values.items():
            if values is value and key in SHARED_SETTINGS:
                raise InputFileError(
                    f"Invalid configuration file '{path}': '{key}' cannot be in the table '{name}'.",
                    "Move it above the first table: it applies to all commands.",
                )
            _check_setting(path, key, item, name if values is value else "")
    return content


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the current names of the settings. `preset` and `filter` can be a text or a list."""
    check_repeated_keys(values, CONFIGURABLE_FIELDS)
    found = settings.canonical_keys(values, CONFIGURABLE_FIELDS)
    return found | {name: [found[name]] for name in ("filter", "preset") if isinstance(found.get(name), str)}


def _command_settings(path: Path, command: str) -> dict[str, Any]:
    content = read_config_file(path)
    own = COMMAND_SETTINGS.get(command, {})
    shared = {name: value for name, value in content.items() if not isinstance(value, dict) and name not in own}
    return {**shared, **content.get(command, {})}


def unconfigurable_error(name: str) -> tuple[str, str]:
    """Return the message and the hint for a name that a configuration file cannot contain."""
    if name == "size":
        return "Unknown setting: 'size'.", "Use width and height."
    if name in _SETTINGS_OF_ONE_CALL:
        return f"'{name}' cannot be in a configuration file.", f"Use the option --{name.replace('_', '-')}."
    return unknown_setting_error(name, CONFIGURABLE_SETTINGS)


def setting_group(name: str, command: str = "") -> type:
    """Return the group that declares a setting of a configuration file, in the table of a command or for all."""
    return COMMAND_SETTINGS.get(command, {}).get(name) or CONFIGURABLE_SETTINGS[name]


def _check_setting(path: Path, name: str, value: Any, command: str) -> None:
    if name not in CONFIGURABLE_SETTINGS or isinstance(value, dict):
        message, hint = unconfigurable_error(name)
        if isinstance(value, dict):
            presets = [f"{PRESETS_TABLE}.NAME"] if path == Path(PROJECT_FILE) else []
            tables = (*settings.TASK_NAMES, f"{FILTERS_TABLE}.NAME", *presets)
            message, hint = f"Unknown table: '{name}'.", f"Tables: {', '.join(tables)}."
        raise InputFileError(f"Invalid configuration file '{path}': {message}", hint)
    group = setting_group(name, command)
    kind, _ = settings.type_of(group, name)
    try:
        if kind is Path and isinstance(value, str):
            value = Path(value)
        settings.validate(group(**{name: tuple(value) if kind is tuple and isinstance(value, list) else value}))
        check_quantity(name, value)
    except UsageError as error:
        raise InputFileError(f"Invalid configuration file '{path}': {error.message}", error.hint) from error
