"""What a setting is: its type, its limits, and how text becomes one. The settings themselves are in `settings/`."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import UsageError

BOOLEAN_LITERALS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

PATH_SETTINGS = frozenset({"image", "mask", "model", "lora", "folder", "fit"})
"""Settings that may name a file, whose name need not be text."""


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name, type and default.

    Attributes:
        help: one sentence for `--help`.
        flags: spellings shown in `--help`, short ones included; empty means `--name-with-dashes`.
        aliases: hidden spellings of the option, such as `--weights`. The same names are accepted as keys of records,
            prompt files and configuration files, and as `ARTGEN_*` variables. `--full=full` is a switch that gives
            the setting the value `full`.
        value_aliases: former values of the setting, and the value that each of them means.
        minimum, maximum: inclusive limits of a number.
        choices: the words allowed, matched without regard to case.
        positional: may be given without its flag.
        metavar: what stands for the value in `--help`.
    """

    help: str
    flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    value_aliases: Mapping[str, str] = field(default_factory=dict)
    positional: bool = False
    metavar: str | None = None


def option(default: Any, help: str, **rest: Any) -> Any:  # noqa: A002
    """A dataclass field that carries a `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **rest)})


def options_of(group: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a group or request that are settings, by name."""
    return {f.name: f for f in dataclasses.fields(group) if "setting" in f.metadata}


class Alias(NamedTuple):
    """Represent a further name of a setting.

    Attributes:
        setting: name of the setting.
        value: value that the alias alone selects (`--full` is `--mode full`); None if the alias takes a value.
    """

    setting: str
    value: str | None = None


def aliases_of(fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, Alias]:
    """Return the aliases of the settings `fields`, by alias with underscores: `{"weights": Alias("quantize")}`."""
    found: dict[str, Alias] = {}
    for name, each in fields.items():
        for alias in each.metadata["setting"].aliases:
            flag, _, value = alias.partition("=")
            found[flag.lstrip("-").replace("-", "_")] = Alias(name, value or None)
    return found


def canonical_value(spec: Setting, value: Any) -> Any:
    """Return the current value for a former one (`estimate` is `x0`); return other values unchanged."""
    return spec.value_aliases.get(value, value) if isinstance(value, str) else value


def canonical_keys(values: Mapping[str, Any], fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, Any]:
    """Return `values` with the settings' current names and values in the place of former ones.

    A key that is the current name of a setting wins over an alias of the same setting. Other keys stay as they are.
    """
    aliases = {key: alias for key, alias in aliases_of(fields).items() if key not in fields}
    found: dict[str, Any] = {}
    for key, value in values.items():
        alias = aliases.get(key)
        name = alias.setting if alias else key
        if alias and name in values:
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
    """The plain type of a setting (`int`, `float`, `bool`, `str`, `Path`, `tuple`) and whether None will do."""
    kind, optional, _ = _declarations(group)[name]
    return kind, optional


def validate(values: Any, names: Container[str] | None = None) -> None:
    """Holds the values of a dataclass, all or those named, to their settings' types and limits.

    Raises:
        UsageError: naming the setting, what was wanted and what came.
    """
    group: type = type(values)
    for name, (kind, optional, spec) in _declarations(group).items():
        if names is not None and name not in names:
            continue
        value = getattr(values, name)
        if value is None and optional:
            continue
        _check_type(name, value, kind)
        _check_limits(name, value, spec)


def _check_type(name: str, value: object, kind: type) -> None:
    # bool is a subclass of int, and an int will do for a float.
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{name} must be {_describe_type(kind)}, not {value!r}.")
    for item in value if isinstance(value, tuple) else ():
        _check_type(name, item, str)
    if isinstance(value, str | Path):
        _check_text(name, str(value))


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{name} contains a NUL character.", "Remove it; text ends there for many programs.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # File names may hold bytes that are no text; the operating system takes them as they are.
        if name not in PATH_SETTINGS:
            raise UsageError(
                f"{name} is not valid UTF-8.", "Save the file or set the terminal to UTF-8 and try again."
            ) from None


def _check_limits(name: str, value: Any, spec: Setting) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}.", describe_limits(spec))
    if spec.choices and value not in spec.choices:
        import difflib

        close = difflib.get_close_matches(str(value), spec.choices, n=1)
        raise UsageError(
            f"{name} must be one of {', '.join(spec.choices)}, not {value!r}.",
            f"Did you mean {close[0]}?" if close else "",
        )
    too_small = spec.minimum is not None and value < spec.minimum
    too_large = spec.maximum is not None and value > spec.maximum
    if too_small or too_large:
        raise UsageError(f"{name} must be {describe_limits(spec)}, not {value}.")


def describe_limits(spec: Setting) -> str:
    """`1 to 1000`, or an empty string for a setting without limits."""
    if spec.minimum is None or spec.maximum is None:
        return ""
    return f"{spec.minimum:,} to {spec.maximum:,}"


def parse_value(group: type, name: str, text: str) -> Any:
    """The value of setting `name` written as text: a cell of a table, or the right side of `--set steps=50`.

    Raises:
        UsageError: there is no such setting, or the text is not of its type.
    """
    if name not in options_of(group):
        raise UsageError(*unknown_setting_error(name, options_of(group)))
    kind, optional = type_of(group, name)
    text = canonical_value(options_of(group)[name].metadata["setting"], text)
    if optional and text == "":
        return None
    if kind is tuple:  # several, between commas; one that holds a comma stands in double quotes
        import csv

        try:
            return tuple(next(csv.reader([text], skipinitialspace=True), ()))
        except csv.Error as error:
            raise UsageError(f"{name} must be values with commas between them: {error}.") from None
    if kind is bool:
        if text.casefold() not in BOOLEAN_LITERALS:
            raise UsageError(f"{name} must be true or false, not {text!r}.")
        return BOOLEAN_LITERALS[text.casefold()]
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{name} must be {_describe_type(kind)}, not {text!r}.") from None


def unknown_setting_error(name: str, known_names: Mapping[str, object] | typing.Iterable[str]) -> tuple[str, str]:
    """The message and hint for a setting name that does not exist."""
    import difflib

    close = difflib.get_close_matches(name.replace("-", "_"), list(known_names), n=3)
    return f"There is no setting called {name!r}.", f"Close names: {', '.join(close)}." if close else ""


def _describe_type(kind: type) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        tuple: "a list",
    }
    return names.get(kind, kind.__name__)
