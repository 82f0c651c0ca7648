"""What a setting is: its type, its limits, and how text becomes one. The settings themselves are in `settings/`."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

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
        aliases: further spellings that are accepted and not shown.
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
    positional: bool = False
    metavar: str | None = None


def option(default: Any, help: str, **rest: Any) -> Any:  # noqa: A002
    """A dataclass field that carries a `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **rest)})


def options_of(group: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a group or request that are settings, by name."""
    return {f.name: f for f in dataclasses.fields(group) if "setting" in f.metadata}


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
