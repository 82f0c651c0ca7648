"""Read and write presets: named settings, which `--preset NAME` applies.

`artgen preset save` writes the presets of the user to `presets.toml` in the configuration folder, one table for each
preset::

    [portrait]
    steps = 28
    guidance_scale = 6.0

`artgen.toml` in the current folder may contain presets in tables such as `[presets.portrait]`. They have precedence.

`ARTGEN_PRESET` and the setting `preset` of a configuration file select the presets of commands without `--preset`.

Priority, highest first: settings of the call, presets (a later preset first), `ARTGEN_*` environment variables,
configuration files.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.spec import settings
from artgen.spec.config import (
    MAX_USER_FILE_BYTES,
    PRESETS_TABLE,
    PROJECT_FILE,
    user_config_folder,
)
from artgen.spec.fields import describe_value
from artgen.spec.preset_values import PRESET_SETTINGS, checked_values
from artgen.spec.settings import options_of
from artgen.spec.toml_text import parse_toml
from artgen.spec.value_checks import check_repeated_keys
from artgen.system.external_data import read_regular
from artgen.system.files import wrap_read_errors, write_atomically

_NAME_PATTERN = re.compile(r"[^\W_][\w.+-]{0,63}")
_FIELDS = {name: options_of(group)[name] for name, group in PRESET_SETTINGS.items()}
_LIST_HINT = "`artgen preset list` lists the presets."


@dataclass(frozen=True)
class Preset:
    """Represent a preset.

    Attributes:
        name: name.
        values: setting name -> value.
        file: file that contains the preset.
    """

    name: str
    values: Mapping[str, Any]
    file: Path


def presets_file() -> Path:
    """Return the path of the user's presets. The file may be missing."""
    return user_config_folder() / "presets.toml"


def list_presets() -> list[Preset]:
    """Return the presets, sorted by name. A preset of `artgen.toml` hides the user's preset of the same name.

    Raises:
        InputFileError: a file is not valid; the message contains the file and the line.
    """
    found = {**_read_presets(presets_file()), **_read_presets(Path(PROJECT_FILE))}
    return [found[name] for name in sorted(found)]


def find_preset(name: str) -> Preset:
    """Return the preset with a name.

    Raises:
        UsageError: no preset has the name. The hint contains similar names.
        InputFileError: see `list_presets`.
    """
    found = {preset.name: preset for preset in list_presets()}
    if name in found:
        return found[name]
    if not found:
        hint = "No presets exist. Save one: artgen preset save portrait --steps 28"
    else:
        from artgen.spec.synonyms import similar_names

        names = name.replace(",", " ").split()
        close = similar_names(name, list(found))
        hint = f"Similar names: {', '.join(close)}. {_LIST_HINT}" if close else _LIST_HINT
        if len(names) > 1 and found.keys() >= {*names}:
            hint = f"Repeat the option: {' '.join(f'--preset {each}' for each in names)}"
    raise UsageError(f"Unknown preset: {describe_value(name)}.", hint)


def preset_values(names: Sequence[str]) -> dict[str, Any]:
    """Return the settings of presets. A later preset has precedence.

    Raises:
        UsageError: a preset is unknown.
        InputFileError: see `list_presets`.
    """
    values: dict[str, Any] = {}
    for name in names:
        added = find_preset(name).values
        excluded = settings.excluded_settings(added)
        values = {key: value for key, value in values.items() if key not in excluded} | dict(added)
    return values


def apply_presets(values: Mapping[str, Any], accepted: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Add the settings of the presets in `values["preset"]` to the settings of a call.

    Args:
        values: setting name -> value, only the settings that the caller gave. `preset` is a name or a list of names.
        accepted: names of the settings that the call takes.

    Returns:
        `values` with the settings of the presets that `values` does not contain, and `preset` as a tuple of names;
        notes about settings of the presets that the call does not take. Without `preset`, `values` is unchanged.

    Raises:
        UsageError: a preset is unknown, or `preset` has another type.
        InputFileError: see `list_presets`.
    """
    names = values.get("preset") or ()
    names = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, list) else names
    settings.validate(settings.PresetSettings(preset=names))
    if not names:
        return {name: value for name, value in values.items() if name != "preset"}, []
    excluded = settings.excluded_settings(values) | values.keys()
    found = {name: value for name, value in preset_values(names).items() if name not in excluded}
    unused = [name for name in found if name not in accepted]
    listed = f"preset{'' if len(names) == 1 else 's'} {', '.join(names)}"
    notes = [f"The value of {name} in the {listed} is ignored: the task does not take it." for name in unused]
    return {**{name: value for name, value in found.items() if name in accepted}, **values, "preset": names}, notes


def save_preset(name: str, values: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Save a preset of the user. Keep the rest of the file, including comments. Return the path of the file.

    Raises:
        UsageError: the name or a value is invalid, `values` is empty, or the preset exists and `overwrite` is False.
        InputFileError: the file is not valid. It is not changed.
        OutputError: the file cannot be written.
    """
    import tomlkit

    if not _NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"{describe_value(name)} cannot be the name of a preset.",
            "Use at most 64 letters, digits, '.', '_', '+' and '-'. The first character is a letter or a digit.",
        )
    if not values:
        raise UsageError("Cannot save a preset without settings.", f"artgen preset save {name} --steps 28")
    values = checked_values(values)
    path = presets_file()
    if name in _read_presets(path) and not overwrite:
        raise UsageError(f"The preset '{name}' exists.", "To replace it, add --overwrite.")
    document = tomlkit.parse(_read_text(path))
    document[name] = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    _write(path, tomlkit.dumps(document))
    return path


def remove_preset(name: str) -> Path:
    """Remove a preset of the user. Return the path of its file.

    Raises:
        UsageError: no preset has the name, or it is a preset of `artgen.toml`.
        InputFileError: see `list_presets`.
        OutputError: the file cannot be written.
    """
    import tomlkit

    path = presets_file()
    if name not in _read_presets(path):
        preset = find_preset(name)
        raise UsageError(f"Cannot remove '{name}': it is a preset of the project.", f"Edit '{preset.file}'.")
    document = tomlkit.parse(_read_text(path))
    document.remove(name)
    _write(path, tomlkit.dumps(document))
    return path


def _write(path: Path, text: str) -> None:
    if len(text.encode()) > MAX_USER_FILE_BYTES:
        raise UsageError(
            f"Cannot save the preset: '{path}' would have more than {MAX_USER_FILE_BYTES >> 10} KiB.",
            "Remove other presets.",
        )
    write_atomically(path, text)


def _read_text(path: Path) -> str:
    """Return the content of a file; an empty text if it is missing.

    Raises:
        InputFileError: the file cannot be read, is too large, is not a regular file, or is not valid TOML.
    """
    if not path.exists() and not path.is_symlink():
        return ""
    with wrap_read_errors(path):
        data = read_regular(path, MAX_USER_FILE_BYTES)
    parse_toml(data, f"the presets in '{path}'")
    return data.decode("utf-8-sig")


def _read_presets(path: Path) -> dict[str, Preset]:
    text = _read_text(path)
    content = parse_toml(text.encode(), f"the presets in '{path}'")
    is_project = path == Path(PROJECT_FILE)
    tables = content.get(PRESETS_TABLE, {}) if is_project else content
    place = _Place(path, text, f"{PRESETS_TABLE}." if is_project else "")
    if not isinstance(tables, dict):
        raise place.error(PRESETS_TABLE, "", f"{PRESETS_TABLE} must be tables", "[presets.portrait]")
    presets = {}
    for name, values in tables.items():
        if not _NAME_PATTERN.fullmatch(name):
            raise place.error(name, "", f"{describe_value(name)} cannot be the name of a preset", "Rename it.")
        if not isinstance(values, dict):
            raise place.error("", name, f"{describe_value(name)} is not a preset", f"[{place.prefix}portrait]")
        presets[name] = Preset(name, _read_values(place, name, values), path)
    return presets


def _read_values(place: "_Place", name: str, values: dict[str, Any]) -> dict[str, Any]:
    try:
        check_repeated_keys(values, _FIELDS)
        return checked_values(settings.canonical_keys(values, _FIELDS))
    except ArtgenError as error:
        key = next((each for each in error.settings if each in values), "")
        raise place.error(name, key, error.message.rstrip("."), error.hint) from error


@dataclass(frozen=True)
class _Place:
    """Locate the presets of a file.

    Attributes:
        path: file.
        text: its content.
        prefix: text before the name of a preset in the header of its table.
    """

    path: Path
    text: str
    prefix: str

    def error(self, preset: str, key: str, message: str, hint: str) -> InputFileError:
        """Return the error about a key of a preset, with the line of the key, or else of the header of the table."""
        name = f" '{preset}'" if preset else ""
        return InputFileError(
            f"Invalid preset{name} in '{self.path}', line {self._line(preset, key)}: {message}.",
            hint or "Edit the file.",
        )

    def _line(self, preset: str, key: str) -> int:
        table, header_line = "", 1
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\s*([^\]]*?)\s*\]", line):
                table = re.sub(r"[\"'\s]", "", header[1])
                if table == f"{self.prefix}{preset}":
                    header_line = number
            elif table == f"{self.prefix}{preset}" and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return header_line
