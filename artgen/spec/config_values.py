"""Find and set single values of the configuration, for `artgen config`."""

import os
from pathlib import Path
from typing import Any

from artgen.errors import OutputError, UsageError
from artgen.spec import config, settings
from artgen.spec.quantities import check_quantity
from artgen.system.external_data import read_optional
from artgen.system.files import wrap_write_errors, write_atomically

_ABSOLUTE_PATHS = (
    "embedding_folder",
    "wildcard_folder",
    "style_folder",
    "signing_certificate",
    "signing_key",
    "trust_list",
)


def parse_name(name: str) -> tuple[str, str]:
    """Return the command and the setting of `img2img.strength`; an empty command for all commands.

    Raises:
        UsageError: the command or the setting is unknown.
    """
    command, separator, key = name.rpartition(".")
    if separator and command not in settings.TASK_NAMES:
        from artgen.spec.synonyms import similar_names

        close = next(iter(similar_names(command, settings.TASK_NAMES)), "")
        hint = f"Did you mean '{close}'?" if close else f"Commands: {', '.join(settings.TASK_NAMES)}."
        raise UsageError(f"Unknown command: {command!r}.", hint)
    key = key.replace("-", "_")
    aliases = settings.aliases_of(config.CONFIGURABLE_FIELDS)
    if key not in config.CONFIGURABLE_SETTINGS and key in aliases:
        key = aliases[key].setting
    if key not in config.CONFIGURABLE_SETTINGS:
        raise UsageError(*config.unconfigurable_error(key.removeprefix("ARTGEN_")))
    if command and key in config.SHARED_SETTINGS:
        raise UsageError(f"'{key}' applies to all commands.", f"Use {key} without '{command}.'.")
    return command, key


def _check_value(key: str, value: Any) -> None:
    """Check a size or a time, or the names in a value, such as schedulers and presets.

    Raises:
        UsageError: the size or the time is not valid, or a name is unknown.
    """
    from artgen.spec.preset_values import PRESET_SETTINGS, checked_values
    from artgen.spec.presets import preset_values
    from artgen.spec.selected_filters import effective_names, find_filters

    check_quantity(key, value)
    if key == "preset":
        preset_values(value)
    elif key == "filter":
        find_filters(effective_names(value))
    elif key in PRESET_SETTINGS:
        checked_values({key: value})


def format_value(value: Any, separator: str = ", ") -> str:
    """Return a value for the terminal: `true`, and lists with separators."""
    if isinstance(value, bool):
        return str(value).lower()
    return separator.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def find_value(name: str) -> Any:
    """Return the value of a setting, or of `command.setting`, in the files and the environment; None if it is unset.

    Raises:
        UsageError: the setting is unknown.
        InputFileError: a file is not a valid configuration.
    """
    command, key = parse_name(name)
    if text := os.environ.get(f"ARTGEN_{key.upper()}"):
        return text
    values = {path: config.read_config_file(path) for path in config.config_files()}
    is_own = key in config.COMMAND_SETTINGS.get(command, {})
    found = (table.get(key) for each in values.values() for table in (each.get(command, {}), {} if is_own else each))
    return next((value for value in found if value is not None), None)


def set_value(name: str, text: str, path: Path) -> None:
    """Set one setting in a configuration file. Keep the rest of the file, including comments.

    Args:
        name: a setting, or `command.setting`.
        text: value as typed on the command line; an empty text removes the setting. Folders of models, embeddings,
            wildcards and styles are saved as absolute paths.
        path: configuration file; created if it does not exist.

    Raises:
        UsageError: the setting is unknown, or the value is invalid.
        InputFileError: the file is not a valid configuration. The file is not changed.
        OutputError: the file cannot be written.
    """
    import tomlkit

    command, key = parse_name(name)
    if text and command:
        from artgen.spec.requests import TASKS
        from artgen.spec.synonyms import other_commands_hint

        is_taken = key in settings.options_of(TASKS[command].request_class)
        if not is_taken and (hint := other_commands_hint(key, command)):
            raise UsageError(f"'{key}' has no effect in '{command}'.", hint)
    aliases = settings.aliases_of(config.CONFIGURABLE_FIELDS)
    value = settings.parse_value(config.setting_group(key, command), key, text) if text else None
    if key == "model_folders" and value:
        value = tuple(str(config.expand_home(folder).absolute()) for folder in value if folder.strip())
    elif key in _ABSOLUTE_PATHS and value:
        value = str(config.expand_home(value).absolute())
    if value is not None:
        settings.validate(config.setting_group(key, command)(**{key: value}))
        _check_value(key, value)
    if config.is_unreadable(path):
        raise OutputError(f"Cannot change '{path}': the file cannot be read.", "Move or delete it.")
    config.read_config_file(path)
    document = tomlkit.parse((read_optional(path, config.MAX_USER_FILE_BYTES) or b"").decode("utf-8-sig"))
    table = document.setdefault(command, tomlkit.table()) if command else document
    names = {
        alias for alias, meant in aliases.items() if meant.setting == key and alias not in config.CONFIGURABLE_SETTINGS
    }
    for name in {*names, *(each.replace("_", "-") for each in {key, *names})} - {key}:
        table.pop(name, None)
    if value is None or text == "":
        table.pop(key, None)
    else:
        table[key] = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    write_atomically(path, tomlkit.dumps(document))
    if any(
        field.metadata["setting"].is_secret and name in document for name, field in config.CONFIGURABLE_FIELDS.items()
    ):
        with wrap_write_errors(path):
            path.chmod(0o600)
