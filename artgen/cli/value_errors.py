"""Convert the errors of Typer about invalid values to errors of artgen.

Import this module only to report an error.
"""

import re
from collections.abc import Sequence
from typing import Any

from artgen.cli.usage_errors import canonical_flags, help_hint, unknown_option_error
from artgen.errors import UsageError
from artgen.spec.parse_values import number_hint
from artgen.spec.synonyms import value_hint

_OUT_OF_RANGE = re.compile(r"(?P<value>\S+) is not in the range (?P<low>[^<]+)<=x<=(?P<high>[^<]+)\.")
"""Message of Typer for a number beyond the limits of an option."""

_KINDS = {"int": int, "float": float, "boolean": bool}


def invalid_value_error(error: Any, context: Any, args: Sequence[str]) -> UsageError:
    """Return the error for a value that is not a number or not a truth value."""
    from artgen.spec.fields import describe_type

    parameter = error.param
    value = _invalid_value(error.message)
    source = _source(parameter, context)
    if match := _OUT_OF_RANGE.match(error.message):
        number, low, high = float(match["value"]), match["low"], match["high"]
        message = f"{source} must be {float(low):,g} to {float(high):,g}, not {match['value'].removesuffix('.0')}."
        return UsageError(message, f"{source} {low if number < float(low) else high}")
    kind = _KINDS.get(parameter.type.name)
    if kind is None or value is None:
        message = f"{error.message.rstrip('.')}."
        return UsageError(f"Cannot use the value of {source}: {message[:1].lower()}{message[1:]}", help_hint(context))
    message = f"{source} must be {describe_type(kind)}, not {value!r}."
    if joined := _joined_option(value, args):
        return unknown_option_error(joined, context, args)
    hint = value_hint(parameter.name, value) or number_hint(kind, value)
    if not hint and re.fullmatch(r"[\d.]+(,[\d.]+)+", value) and "--sweep" in canonical_flags(context):
        hint = f"For an image with each value: --sweep {parameter.name}={value}"
    hint = hint or _limits_hint(parameter.name)
    return UsageError(message, hint or help_hint(context))


def _invalid_value(message: str) -> str | None:
    """Return the value in a message of Typer such as `'fifty' is not a valid int.`"""
    match = re.match(r"""(?P<quote>['"])(?P<value>.*)(?P=quote) is not a valid """, message, re.DOTALL)
    return match["value"] if match else None


def _source(parameter: Any, context: Any) -> str:
    """Return the name of an option, of an argument, or of the variable or setting that has the value."""
    if parameter.param_type_name == "argument":
        return str(parameter.make_metavar(context)).strip("[].")
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        return f"ARTGEN_{parameter.name.upper()}"
    if source is not None and source.name == "DEFAULT_MAP":
        return f"The setting {parameter.name}"
    return str(max(parameter.opts, key=len))


def _joined_option(value: str, args: Sequence[str]) -> str:
    """Return the argument `-cfg`, which the parser reads as `-c fg`; empty if there is none with this value."""
    names = (each.partition("=")[0] for each in args)
    return next((each for each in names if re.fullmatch(r"-[A-Za-z]{3,}", each) and value.startswith(each[2:])), "")


def _limits_hint(name: str) -> str:
    from artgen.spec import settings

    for group in settings.SETTING_GROUPS:
        limits = settings.describe_limits(found) if (found := settings.settings_of(group).get(name)) else ""
        if limits:
            return f"Range: {limits}."
    return ""
