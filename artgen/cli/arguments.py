"""Read the command line that runs: its command and its arguments. Refuse arguments that the parser would misread."""

import math
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import typer

from artgen.errors import UsageError

_COMMAND_LINE: ContextVar[tuple[Any, tuple[str, ...]]] = ContextVar("command line")

_LONG_DASHES = "\N{EN DASH}\N{EM DASH}"
_NEVER_EMPTY = frozenset({"device", "family", "mask_model", "model", "output", "ray", "server", "sigma"})
"""Options whose value cannot be empty, besides files, numbers and choices."""

_WORD_AFTER_ONE_DASH = re.compile(r"-[A-Za-z][A-Za-z_-]{2,}")


def set_command_line(context: Any, args: Sequence[str]) -> None:
    """Store the context and the arguments of the command that runs, for the hints of errors."""
    _COMMAND_LINE.set((context, tuple(args)))


def command_line() -> tuple[Any, tuple[str, ...]]:
    """Return the context of the command that runs, and its arguments without hidden aliases."""
    return _COMMAND_LINE.get()


def reject_nan(value: float | None) -> float | None:
    """Return the value of an option. Typer accepts NaN as a number between two limits.

    Raises:
        BadParameter: the value is not a number.
    """
    if value is not None and math.isnan(value):
        raise typer.BadParameter("'nan' is not a valid float.")
    return value


def command_name(context: Any) -> str:
    """Return the name of a command with its groups, such as `models list`; empty for the program."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names)


class Argument(NamedTuple):
    """Represent one argument: its text, and whether it is an option, the value of an option or positional."""

    text: str
    kind: Literal["option", "value", "positional"]


def iter_arguments(parameters: Sequence[Any], args: Sequence[str]) -> Iterator[Argument]:
    """Yield the arguments of a command, without `--`.

    Args:
        parameters: parameters of the command.
        args: arguments without hidden aliases.
    """
    with_value = flags_with_value(parameters)
    remaining = list(args)
    while remaining:
        text = remaining.pop(0)
        if text == "--":
            yield from (Argument(each, "positional") for each in remaining)
            return
        if not text.startswith("-") or text == "-":
            yield Argument(text, "positional")
            continue
        yield Argument(text, "option")
        if text in with_value and remaining:
            yield Argument(remaining.pop(0), "value")


def flags_with_value(parameters: Sequence[Any]) -> frozenset[str]:
    """Return the names of the options that take a value."""
    return frozenset(
        flag
        for parameter in parameters
        if parameter.param_type_name == "option" and not parameter.is_flag
        for flag in parameter.opts
    )


def check_arguments(parameters: Sequence[Any], args: Sequence[str]) -> None:
    """Refuse an option in place of a value (`-o --steps 5`), one dash or a long dash in place of two, and empty files.

    The parser would use `--steps` as the value of `-o`, and read `-prompt fox` as `-p rompt fox`. An empty path would
    be the working directory.

    Raises:
        UsageError: see above.
    """
    flags = {flag for each in parameters for flag in (*each.opts, *each.secondary_opts) if flag.startswith("--")}
    has_paths = any(each.param_type_name == "argument" and each.type.name == "path" for each in parameters)
    option = ""
    for text, kind in iter_arguments(parameters, args):
        name, equals, value = text.partition("=")
        if (kind == "value" and not text) or (kind == "option" and equals and not value):
            _check_empty(parameters, name or option)
        if kind == "option" and _WORD_AFTER_ONE_DASH.fullmatch(name) and f"-{name}".replace("_", "-") in flags:
            raise UsageError(
                f"Cannot use '{name}': the name of a long option begins with two dashes.",
                f"Did you mean -{text.replace('_', '-')}?",
            )
        if kind == "positional" and has_paths and not text:
            raise UsageError("Cannot use an empty text as a path.", "Check the variables of the shell.")
        if (
            kind == "positional"
            and (typed := f"--{name.lstrip(_LONG_DASHES)}") in flags
            and name[:1] in (*_LONG_DASHES,)
        ):
            raise UsageError(f"Cannot use '{name}': it begins with a long dash.", f"Did you mean {typed}?")
        if kind == "value" and name in flags:
            long = next(max(each.opts, key=len) for each in parameters if option in each.opts)
            raise UsageError(
                f"Cannot use '{option}' without a value: the option '{name}' follows.",
                f"To use this text as the value: {long}={text}",
            )
        option = text


def _check_empty(parameters: Sequence[Any], option: str) -> None:
    """Refuse an empty value of an option. An empty prompt is a value, and an empty `--lora` unsets a default.

    The values of most other options are refused where they are parsed.

    Raises:
        UsageError: the option needs a value.
    """
    from artgen.spec.settings import SETTING_GROUPS, settings_of

    setting = next((str(each.name) for each in parameters if option in each.opts), "")
    found = [declared[setting] for group in SETTING_GROUPS if setting in (declared := settings_of(group))]
    if setting in _NEVER_EMPTY or any(each.is_path and each.per_call for each in found):
        raise UsageError(f"Cannot use an empty text as the value of {option}.", "Check the variables of the shell.")
