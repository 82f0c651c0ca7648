"""Distinguish the settings of the command line from the defaults of the user, and apply presets.

The defaults come from presets, from the environment and from configuration files. A default that does not fit the other
settings is ignored with a note; a typed setting is refused.
"""

import os
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple

from artgen.cli.console import print_note
from artgen.errors import ArtgenError, UsageError
from artgen.spec import settings
from artgen.spec.settings import options_of

_TYPED_SETTINGS: ContextVar[frozenset[str]] = ContextVar("typed settings", default=frozenset())
_PRESET_SETTINGS: ContextVar[frozenset[str]] = ContextVar("settings of presets", default=frozenset())


def apply_priorities(context: Any, values: dict[str, Any]) -> None:
    """Apply the presets of a command, or else the default presets, and remove replaced defaults.

    Args:
        context: context of the command. The settings that were typed are remembered for `is_typed`.
        values: setting name -> value; changed in place.

    Raises:
        UsageError: a preset of the command line is unknown.
        InputFileError: a file of presets is not valid.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name: values[name] for name, source in sources.items() if source.name == "COMMANDLINE"}
    _TYPED_SETTINGS.set(frozenset(typed))
    strong = dict(typed)
    unused = () if values.get("quiet") else (*_unused_variables(), *_unused_table_settings(context.info_name, values))
    for note in unused:
        print_note(note)
    if values.get("preset"):
        from artgen.spec.presets import apply_presets

        notes: list[str] = []
        try:
            strong, notes = apply_presets({**typed, "preset": values["preset"]}, values.keys())
            notes = notes if "preset" in typed else []
        except UsageError as error:
            if "preset" in typed:
                raise
            values["preset"] = ()
            source = "from the environment or a configuration file"
            notes.append(f"The default of preset {source} is ignored: {error.message} {error.hint}")
        for note in () if values.get("quiet") else notes:
            print_note(note)
    _PRESET_SETTINGS.set(frozenset(strong.keys() - typed.keys() - {"preset"}))
    values |= strong
    for name in settings.excluded_settings(strong) & values.keys() - typed.keys():
        values[name] = None


_FILE_VARIABLES = ("history_file",)
"""Variables `ARTGEN_*` without the prefix, in lower case, that name a file and are not settings."""


def _unused_variables() -> list[str]:
    """Return a note for each environment variable `ARTGEN_*` that no setting has."""
    variables = {name: name.removeprefix("ARTGEN_").lower() for name in os.environ if name.startswith("ARTGEN_")}
    if not variables:
        return []
    known = set(_FILE_VARIABLES)
    for group in settings.SETTING_GROUPS:
        fields = {name: field for name, field in options_of(group).items() if not field.metadata["setting"].per_call}
        known |= fields.keys() | settings.aliases_of(fields).keys()
    notes = []
    for variable, name in variables.items():
        if name not in known:
            close = next(iter(_similar_settings(name, known)), "")
            hint = f" Did you mean ARTGEN_{close.upper()}?" if close else ""
            notes.append(f"The environment variable {variable} is ignored: no default has this name.{hint}")
    return notes


def _unused_table_settings(command: str, names: Collection[str]) -> list[str]:
    """Return a note for each setting in the tables of a command in the configuration files that the command lacks."""
    from artgen.spec import config

    tables = {path: config.read_config_file(path).get(command, {}) for path in config.config_files()}
    return [
        f"The setting {name} in the table [{command}] of '{path}' is ignored: {command} does not take it."
        for path, table in tables.items()
        for name in (table if isinstance(table, dict) else {})
        if name not in names
    ]


def _similar_settings(name: str, known: Collection[str]) -> list[str]:
    from artgen.spec.synonyms import similar_names

    return similar_names(name, sorted(known))


def add_typed(name: str) -> None:
    """Remember that a setting was typed as a positional argument."""
    _TYPED_SETTINGS.set(_TYPED_SETTINGS.get() | {name})


def is_typed(name: str) -> bool:
    """Return whether a setting of the command was typed. Otherwise it is a default, also of a configuration file."""
    return name in _TYPED_SETTINGS.get()


class UserDefault(NamedTuple):
    """Represent a default of the user.

    Attributes:
        value: the value, unvalidated.
        source: name of the environment variable or of the configuration file.
    """

    value: Any
    source: str


def find_default(setting_name: str, setting: settings.Setting, command: str) -> UserDefault | None:
    """Return the user's default of a setting in a command, such as `batch run`; None if it is unset."""
    if setting.per_call:
        return None
    from artgen.spec import config

    names = (setting_name, *(alias.lstrip("-").replace("-", "_") for alias in setting.aliases if "=" not in alias))
    own = config.COMMAND_SETTINGS.get(command.partition(" ")[0], {})
    for name in names if setting_name not in own else ():
        if text := os.environ.get(variable := f"ARTGEN_{name.upper()}"):
            return UserDefault(text, variable)
    return next(
        (
            UserDefault(value, path.name)
            for path, values in config.read_defaults(command.partition(" ")[0])
            if (value := values.get(setting_name)) is not None
        ),
        None,
    )


def without_default(groups: Mapping[str, Any], error: ArtgenError, *, quiet: bool = False) -> dict[str, Any]:
    """Return the groups without the user's default that causes an error, and print a note.

    Args:
        groups: groups of settings by parameter.
        error: error of the command.
        quiet: do not print the note. The setting `quiet` has the same effect.

    Raises:
        ArtgenError: the error, if no preset and no default of the environment or of a configuration file causes it.
    """
    for setting in error.settings:
        for key, group in groups.items():
            field = options_of(type(group)).get(setting)
            if field is None or is_typed(setting) or getattr(group, setting) == field.default:
                continue
            report = next((each for each in groups.values() if isinstance(each, settings.ReportSettings)), None)
            if not quiet and (report is None or not report.quiet):
                is_preset = setting in _PRESET_SETTINGS.get()
                source = "of the preset" if is_preset else "from the environment or a configuration file"
                print_note(
                    f"The {'value' if is_preset else 'default'} of {setting} {source} is ignored: {error.message}"
                )
            return {**groups, key: replace(group, **{setting: field.default})}
    raise error
