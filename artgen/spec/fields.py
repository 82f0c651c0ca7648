"""Define the properties of a setting, and validate values."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from artgen.errors import UsageError
from artgen.spec.limits import describe_limits, nearest_value

MAX_VALUE_CHARS = 80
"""Limit of a value in a message."""

MAX_TEXT_CHARS = 100_000
"""Limit of a text, such as a prompt. Text encoders read at most some hundred tokens."""

Effect = Literal["pixels", "memory", "file", "prompt", "input"]
SettingFields = Mapping[str, dataclasses.Field[Any]]


@dataclass(frozen=True)
class Setting:
    """Store the properties of a setting. The dataclass field has its name, type and default.

    Attributes:
        help: sentences for `--help`; the default last, in brackets.
        brief: text on the short page of `--help`; empty means the first sentence of `help`.
        defaults: default of each command in which it differs from the default in brackets.
        flags: spellings shown in `--help`, short ones included; empty means `--name-with-dashes`.
        aliases: hidden spellings of the option, such as `--weights`. The same names are accepted as keys of records,
            prompt files and configuration files, and as `ARTGEN_*` variables. `--full=full` is a switch that gives
            the setting the value `full`.
        unlisted_aliases: aliases that `--help` does not show: former names and British spellings.
        value_aliases: current value for each former value of the setting.
        minimum, maximum: inclusive limits of a number.
        choices: allowed texts; empty allows every text.
        values: kind of the values that shells complete: a key of `artgen.cli.completion.values.KINDS`, `files`,
            `folders` or `assignments`; empty for `choices` and input files.
        positional: whether the value may be given without its flag.
        metavar: placeholder of the value in `--help`.
        is_path: whether the value may be a file name. File names are bytes and may be invalid UTF-8.
        is_secret: whether the value is an access token. It is never printed.
        recorded: whether the setting is written to the record of an image.
        per_call: whether the setting belongs to one call. Environment and configuration files cannot set it.
        in_config: whether a configuration file may contain the setting, unless it is `per_call`.
        in_prompt_file: whether a line of a prompt file may contain the setting.
        sweepable: whether `--sweep` accepts the setting, if a line of a prompt file may contain it.
        per_image: whether the images of one pipeline call may have different values.
        affects: what the setting changes: the `pixels` of an image; the `memory` that a job needs, and with it which
            components are loaded where; the content of the image `file` other than the pixels; the `prompt`
            embeddings; the prepared `input` images. Empty if none of these.
        neutral_values: values that give the same image as the default.
        excludes: settings with the same meaning. A value of one replaces a default of the other.
        bare_value: value of the option without a value, for an option whose value can be omitted; else empty.
        fingerprint_name: key of the setting in a batch's fingerprints, if it is not the setting's name. Renamed
            settings keep their former key, so that ledgers of earlier versions stay valid.
    """

    help: str
    brief: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    unlisted_aliases: tuple[str, ...] = ()
    value_aliases: Mapping[str, str] = field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    values: str = ""
    positional: bool = False
    metavar: str | None = None
    is_path: bool = False
    is_secret: bool = False
    recorded: bool = True
    per_call: bool = False
    in_config: bool = True
    in_prompt_file: bool = True
    sweepable: bool = True
    per_image: bool = False
    affects: tuple[Effect, ...] = ("pixels",)
    neutral_values: tuple[str | float, ...] = ()
    excludes: tuple[str, ...] = ()
    bare_value: str = ""
    fingerprint_name: str | None = None


def option(default: Any, help: str, **properties: Any) -> Any:  # noqa: A002
    """Return a dataclass field that carries a `Setting` with these properties."""
    return field(default=default, metadata={"setting": Setting(help, **properties)})


def options_of(group: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a group or request that are settings, by name."""
    return dict(_options(group))


def non_default_settings(*groups: Any) -> dict[str, Any]:
    """Return the settings of some groups whose value differs from the default."""
    return {
        name: value
        for group in groups
        for name, field in options_of(type(group)).items()
        if (value := getattr(group, name)) != field.default
    }


@cache
def _options(group: Callable[..., object]) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(typing.cast(type, group)) if "setting" in f.metadata}


def settings_of(group: type) -> dict[str, Setting]:
    """Return the settings of a group or request, by name."""
    return {name: setting for name, (_, _, setting) in _declarations(group).items()}


def path_settings(group: type) -> tuple[str, ...]:
    """Return the names of the settings whose type is `Path`: the input files of a group or request."""
    return _path_settings(group)


@cache
def _path_settings(group: Callable[..., object]) -> tuple[str, ...]:
    return tuple(name for name, (kind, _, _) in _declarations(group).items() if kind is Path)


class Alias(NamedTuple):
    """Represent an alias of a setting.

    Attributes:
        setting: name of the setting.
        value: value that the alias selects without an argument (`--full` is `--mode full`); else None.
    """

    setting: str
    value: str | None = None


def aliases_of(fields: SettingFields) -> dict[str, Alias]:
    """Return the aliases of the settings `fields`, by alias with underscores: `{"weights": Alias("quantize")}`."""
    found: dict[str, Alias] = {}
    for name, each in fields.items():
        for alias in each.metadata["setting"].aliases:
            flag, _, value = alias.partition("=")
            found[flag.lstrip("-").replace("-", "_")] = Alias(name, value or None)
    return found


def canonical_value(setting: Setting, value: Any) -> Any:
    """Replace a former value by the current one (`estimate` by `x0`); return other values unchanged."""
    return setting.value_aliases.get(value, value) if isinstance(value, str) else value


def canonical_keys(values: Mapping[str, Any], fields: SettingFields) -> dict[str, Any]:
    """Replace former names and values of the settings `fields` by current ones. Keep unknown keys.

    Dashes in a key are equivalent to underscores. If `values` contains a setting under its current name and an alias,
    the current name has priority.
    """
    aliases = {key: alias for key, alias in aliases_of(fields).items() if key not in fields}
    found: dict[str, Any] = {}
    for typed_key, value in values.items():
        dashed = typed_key.replace("-", "_")
        key = dashed if dashed in fields or dashed in aliases else typed_key
        alias = aliases.get(key)
        name = alias.setting if alias else key
        if name in values and name != typed_key:
            continue
        if alias and alias.value is not None:
            if value:
                found[name] = alias.value
        elif not (alias and name in found):
            found[name] = canonical_value(fields[name].metadata["setting"], value) if name in fields else value
    return found


@cache
def _declarations(group: Callable[..., object]) -> dict[str, tuple[type, bool, Setting]]:
    hints = typing.get_type_hints(group)
    fields = options_of(typing.cast(type, group))
    return {name: (*_base_type(hints[name]), f.metadata["setting"]) for name, f in fields.items()}


def _base_type(hint: Any) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None)), True
    return typing.get_origin(hint) or hint, False


def type_of(group: type, name: str) -> tuple[type, bool]:
    """Return the type of a setting (`int`, `float`, `bool`, `str`, `Path`, `tuple`) and whether it may be None."""
    kind, optional, _ = _declarations(group)[name]
    return kind, optional


def validate(values: Any, names: Collection[str] | None = None) -> None:
    """Check the values of a dataclass, all or those in `names`, against the types and limits of their settings.

    Raises:
        UsageError: a value has another type or is outside its limits; the message contains name, limits and value.
    """
    group: type = type(values)
    declarations = _declarations(group)
    for name in declarations if names is None or len(names) > 1 else names:
        if name not in declarations or (names is not None and name not in names):
            continue
        kind, optional, setting = declarations[name]
        value = getattr(values, name)
        if value is None and optional:
            continue
        _check_type(name, value, kind, setting)
        _check_limits(name, value, setting)


def _check_type(name: str, value: object, kind: type, setting: Setting) -> None:
    # bool is a subclass of int. An int is accepted as a float.
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        found = "another value" if setting.is_secret else describe_value(value)
        raise UsageError(f"{name} must be {describe_type(kind)}, not {found}.")
    for item in value if isinstance(value, tuple) else ():
        _check_type(name, item, str, setting)
    if isinstance(value, str | Path):
        _check_text(name, str(value), setting)


def _check_text(name: str, text: str, setting: Setting) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise UsageError(f"{name} has {len(text):,} characters; the maximum is {MAX_TEXT_CHARS:,}.")
    if "\0" in text:
        raise UsageError(f"{name} contains a NUL character.", "Remove the character: many programs end a text there.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        if not setting.is_path:
            raise UsageError(
                f"{name} is not valid UTF-8.", "Save the file or set the terminal to UTF-8 and try again."
            ) from None


def _check_limits(name: str, value: Any, setting: Setting) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        limits = describe_limits(setting)
        raise UsageError(f"{name} must be a finite number, not {value}.", f"Use {limits}." if limits else "")
    if setting.choices and value not in setting.choices:
        from artgen.spec.synonyms import value_hint

        raise UsageError(
            f"{name} must be one of {', '.join(setting.choices)}, not {describe_value(value)}.",
            value_hint(name, value, setting.choices),
            settings=(name,),
        )
    too_small = setting.minimum is not None and value < setting.minimum
    too_large = setting.maximum is not None and value > setting.maximum
    if too_small or too_large:
        is_percent = too_large and setting.maximum == 1 and value <= 100
        hint = f"Did you mean {value / 100:g}?" if is_percent else nearest_value(name, setting, too_small)
        raise UsageError(f"{name} must be {describe_limits(setting)}, not {describe_value(value)}.", hint)


def unknown_setting_error(name: str, known_names: typing.Iterable[str], task: str = "") -> tuple[str, str]:
    """Return the message and the hint for a setting name that does not exist, or that `task` does not have."""
    from artgen.spec.synonyms import option_hint

    return f"Unknown setting: '{name}'.", option_hint(name, known_names, task)


def describe_value(value: object) -> str:
    """Return the Python literal of a value for a message, at most `MAX_VALUE_CHARS` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to convert integers with thousands of digits
        return "a number with thousands of digits"
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."


def describe_type(kind: type) -> str:
    """Return the description of a type for a message."""
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        tuple: "a list",
    }
    return names.get(kind, kind.__name__)
