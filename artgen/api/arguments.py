"""Convert the keywords of a function of the Python API to values of settings."""

import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from artgen.api import keyword_types
from artgen.api.function_keywords import FUNCTIONS, FunctionSpec, keyword_class, keyword_defaults
from artgen.errors import UsageError
from artgen.spec import settings
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python, python_text
from artgen.spec.python_values import plain_value
from artgen.spec.settings import aliases_of, describe_limits, options_of, settings_of, type_of

Function = TypeVar("Function", bound=Callable[..., Any])
Group = TypeVar("Group")

_NUMBER_TEXTS = ("sigma", "class_label", "expand", "batch_size")
"""Settings that are texts on the command line, and may be numbers in Python."""

_FUNCTIONS_WITH_SAVE = (*settings.TASK_NAMES, "replay", "noise", "sheet")
"""Functions whose result has the method `save`."""

_BATCH_SETTINGS = (*options_of(settings.SweepSettings), *options_of(settings.CombinationSettings))

_SIZE_TEXTS = ("size", "target_size")
"""Settings of the form `WxH`, which may be a pair of integers in Python."""


def api_function(name: str) -> Callable[[Function], Function]:
    """Return a decorator for a function with the keywords of `FUNCTIONS[name]`.

    The signature and the docstring of the function list all keywords. Hints of errors name keywords instead of options.
    """
    spec = FUNCTIONS[name]

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with for_python():
                return function(*args, **kwargs)

        parameters = _parameters(function, name, spec)
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=inspect.signature(function).return_annotation
        )
        call.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nKeywords:\n{_keyword_help(spec)}"
        return cast(Function, call)

    return decorate


def _parameters(function: Callable[..., Any], name: str, spec: FunctionSpec) -> list[inspect.Parameter]:
    """Return the parameters of the function itself, then its keywords."""
    own = [each for each in inspect.signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD]
    positional = [each for each in own if each.kind is not each.KEYWORD_ONLY]
    hints = typing.get_type_hints(getattr(keyword_types, keyword_class(name)), localns={"ImageInput": object})
    hints |= {key: keyword.type for key, keyword in spec.extra.items()}
    defaults = {each.name: each for each in own}
    return positional + [
        defaults.get(key) or inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for key, default, hint in ((key, default, hints.get(key)) for key, default in keyword_defaults(spec).items())
    ]


def _keyword_help(spec: FunctionSpec) -> str:
    """Return a line for each keyword: its description, its limits or choices, and its default."""
    lines = []
    declared = {name: setting for group in spec.groups for name, setting in settings_of(group).items()}
    for name in keyword_defaults(spec):
        if name in spec.extra:
            lines.append(f"    {name}: {spec.extra[name].help}")
            continue
        setting = declared[name]
        limits = describe_limits(setting) or " | ".join(map(repr, setting.choices))
        text = python_text(setting.help)
        lines.append(f"    {name}: {text}" + (f" ({limits})" if limits and limits not in text else ""))
    return "\n".join(lines)


def read_keywords(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a call by their current names, with values in the types of the settings.

    Args:
        name: name of the function in `FUNCTIONS`.
        values: keywords of the call. Aliases of options are accepted as names: `cfg_scale`. None is the same as a
            keyword that is not given.

    Raises:
        UsageError: a keyword is unknown, or is given twice under different names.
    """
    spec = FUNCTIONS[name]
    fields = {key: each for group in spec.groups for key, each in options_of(group).items()}
    aliases = {key: alias for key, alias in aliases_of(fields).items() if key not in fields}
    known = keyword_defaults(spec)
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in known:
            target, fixed = key, None
        elif key in aliases and aliases[key].setting in known:
            target, fixed = aliases[key]
        else:
            raise unknown_keyword_error(name, key, known)
        if target in found or (target != key and target in values):
            raise UsageError(f"Cannot use {key} with {target}: both set the same value.", f"Remove {key}.")
        if fixed is not None:
            if value:
                found[target] = fixed
        elif value is None:  # the same as a keyword that is not given, or an unset setting of a record
            if spec.has_recorded_defaults and target not in spec.extra:
                found[target] = ""
        elif target in spec.extra:
            found[target] = plain_value(value)
        else:
            found[target] = python_value(_group_of(spec.groups, target), target, value)
    return found


def unknown_keyword_error(function: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a keyword that the function does not have."""
    from artgen.spec.synonyms import option_hint

    hint = option_hint(name, list(known), function.replace("_", "-"))
    if function == "batch" and name == "output":
        hint = "Did you mean folder?"
    elif name in options_of(settings.OutputSettings) and function in _FUNCTIONS_WITH_SAVE:
        keyword = "" if name == "output" else f", {name}=..."
        hint = f'Pass it to the method save of the result: result.save("image.png"{keyword}).'
    elif name in ("json", "dry_run", "quiet", "verbose", "show", "open", "preview", "compare"):
        hint = "Only the command line has this option."
    elif name in keyword_defaults(FUNCTIONS["batch"]) and name in _BATCH_SETTINGS:
        hint = f"artgen.batch takes {name}."
    return UsageError(f"{function} has no keyword '{name}'.", hint)


def _group_of(groups: Sequence[type], name: str) -> type:
    return next(group for group in groups if name in options_of(group))


def python_value(group: type, name: str, value: Any) -> Any:
    """Convert a Python value to the type of a setting, if this loses nothing; return other values unchanged."""
    value = plain_value(value)
    kind, _ = type_of(group, name)
    setting = settings_of(group)[name]
    if kind is tuple:
        items = (value,) if isinstance(value, str | os.PathLike) else value
        is_list = isinstance(items, Sequence | set | frozenset)
        return tuple(_path_text(item) for item in items) if is_list else value
    if kind is Path and isinstance(value, str | os.PathLike):
        return value if isinstance(value, Path) else Path(_path_text(value))
    if kind is str and name in _SIZE_TEXTS and isinstance(value, tuple | list) and len(value) == 2:
        return f"{value[0]}x{value[1]}"
    if kind is str and name in _SIZE_TEXTS and not isinstance(value, str | None):
        raise UsageError(f"{name} must be a pair of whole numbers, not {describe_value(value)}.", f"{name}=(768, 512)")
    if kind is str and name in _NUMBER_TEXTS and isinstance(value, bool | bytes):
        raise UsageError(f"{name} must be a number or text, not {describe_value(value)}.")
    if kind is str and name in _NUMBER_TEXTS and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if name == "expand" and isinstance(value, Mapping):
        return ",".join(f"{side}={pixels}" for side, pixels in value.items())
    return settings.canonical_value(setting, _path_text(value) if setting.is_path else value)


def _path_text(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, os.PathLike) else value


def take_group(group: type[Group], values: dict[str, Any]) -> Group:
    """Remove the settings of a group from converted keywords, and return the validated group.

    Raises:
        UsageError: a value has the wrong type or is outside its limits.
    """
    filled = group(**{name: values.pop(name) for name in options_of(group) if name in values})
    settings.validate(filled)
    return filled
