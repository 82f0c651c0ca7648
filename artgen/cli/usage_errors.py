"""Convert the usage errors of Typer to errors of artgen: what was expected, what was received, and a hint.

Import this module only to report an error.
"""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from artgen.cli.arguments import command_line, command_name, iter_arguments
from artgen.errors import UsageError
from artgen.spec.prompt_checks import excerpt
from artgen.spec.synonyms import command_hint, option_hint, value_hint

MAX_SHOWN_CHARS = 200
"""Limit of a command line in a hint."""

_errors: Any = sys.modules[typer.BadParameter.__module__]
"""The module that defines the usage errors of Typer, which exports only some of them."""

_KINDS = {"int": int, "float": float, "boolean": bool}


def convert_error(error: Any, context: Any, args: Sequence[str]) -> UsageError:
    """Return the error to report for a usage error of Typer.

    Args:
        error: error of Typer.
        context: context of the command.
        args: arguments of the command, without hidden aliases.
    """
    if isinstance(error, _errors.NoSuchOption):
        return unknown_option_error(error.option_name, context, args)
    if isinstance(error, _errors.BadOptionUsage):
        return _value_count_error(error, context)
    if isinstance(error, _errors.MissingParameter) and error.param is not None:
        return _missing_error(error.param, context)
    if isinstance(error, _errors.BadParameter) and error.param is not None:
        return _invalid_value_error(error, context, args)
    return UsageError(f"{error.format_message().rstrip('.')}.", help_hint(context))


def program_path(context: Any) -> str:
    """Return the name of a command with the program: `artgen models list`."""
    return f"artgen {command_name(context)}".rstrip()


def help_hint(context: Any) -> str:
    """Return the hint that names the help of a command."""
    return f"Run `{program_path(context)} --help` for all options."


def unknown_option_error(name: str, context: Any, args: Sequence[str]) -> UsageError:
    """Return the error for an option that the command does not have."""
    flags = _canonical_flags(context)
    command = command_name(context)
    typed = next((each.partition("=")[0] for each in args if _begins_with(each, name)), name)
    if not name.startswith("--") and len(typed) > 2:
        name = typed  # -steps: the parser reports -e
    plain, _, value = name.partition(":")
    hint = option_hint(name, flags, command, canonical_names=flags)
    if value and not hint:
        hint = option_hint(plain, flags, command, canonical_names=flags)
    if not command and not hint and (positional := _txt2img_command(args)):
        hint = f"Options of a command follow its name: {positional}"
    return UsageError(f"Unknown option '{name}'.", hint or help_hint(context))


def _begins_with(argument: str, name: str) -> bool:
    if name.startswith("--"):
        return argument.partition("=")[0] == name
    return bool(re.match(r"-[A-Za-z][A-Za-z_-]", argument)) and name[1:] in argument[1:]


def _canonical_flags(context: Any) -> dict[str, str]:
    """Return the option to show in a hint for each option and hidden alias of a command."""
    command = context.command
    found: dict[str, str] = {}
    for parameter in command.get_params(context):
        if parameter.param_type_name == "option" and not parameter.hidden:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                found[flag] = flag
    for alias, target in getattr(command, "flag_aliases", dict)().items():
        if target.partition("=")[0] in found:
            found.setdefault(alias, target.replace("=", " "))
    return found


def _txt2img_command(args: Sequence[str]) -> str:
    return shell_command("artgen txt2img", args) if any(not each.startswith("-") for each in args) else ""


def shell_command(command: str, args: Sequence[str]) -> str:
    """Return a command with its arguments for a hint, quoted for a shell; empty if it is too long."""
    text = " ".join([command, *map(_quoted, args)])
    return text if len(text) <= MAX_SHOWN_CHARS and text.isprintable() else ""


def _quoted(text: str) -> str:
    """Return an argument for a shell. Prompts are in double quotes, which all shells support."""
    plain = shlex.quote(text)
    return plain if plain == text or any(letter in text for letter in '"\\$`!') else f'"{text}"'


def _value_count_error(error: Any, context: Any) -> UsageError:
    name = error.option_name
    parameter = next((each for each in context.command.get_params(context) if name in each.opts), None)
    if "does not take" in error.message or parameter is None:
        return UsageError(f"Cannot give '{name}' a value: it is a switch.", f"Write {name} without '='.")
    example = f"{name} {parameter.make_metavar(context)}"
    return UsageError(f"Cannot use '{name}' without a value.", f"Add the value: {example}")


def _missing_error(parameter: Any, context: Any) -> UsageError:
    name = parameter.make_metavar(context) if parameter.param_type_name == "argument" else parameter.opts[-1]
    kind = "argument" if parameter.param_type_name == "argument" else "option"
    name = name.removesuffix("...").strip("[]") if kind == "option" else name.removesuffix("...").strip("[]").upper()
    return UsageError(
        f"Cannot run `{program_path(context)}`: the {kind} {name} is missing.",
        example_of(context) or help_hint(context),
    )


def example_of(context: Any) -> str:
    """Return the example in the help of a command; empty if there is none."""
    lines = [line.strip() for line in (context.command.help or "").splitlines()]
    return next((line for line in lines if line.startswith("artgen ")), "")


def _invalid_value_error(error: Any, context: Any, args: Sequence[str]) -> UsageError:
    from artgen.spec.fields import describe_type

    parameter = error.param
    value = _invalid_value(error.message)
    source = _source(parameter, context)
    kind = _KINDS.get(parameter.type.name)
    if kind is None or value is None:
        message = f"{error.message.rstrip('.')}."
        return UsageError(f"Cannot use the value of {source}: {message[:1].lower()}{message[1:]}", help_hint(context))
    message = f"{source} must be {describe_type(kind)}, not {value!r}."
    if joined := _joined_option(value, args):
        return unknown_option_error(joined, context, args)
    hint = value_hint(parameter.name, value) or _number_hint(kind, value) or _limits_hint(parameter.name)
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


def _number_hint(kind: type, value: str) -> str:
    """Return a hint for a number with a decimal comma, a unit or a percent sign, or with decimals."""
    match = re.fullmatch(r"\s*(-?\d{1,15})(?:[.,](\d{1,15}))?\s*(%|[A-Za-z]{0,8})\s*", value)
    if match is None:
        return ""
    number = float(f"{match[1]}.{match[2] or 0}")
    if kind is float:
        return f"Did you mean {number / 100 if match[3] == '%' else number:g}?"
    return f"Did you mean {round(number)}?" if kind is int and match[3] != "%" else ""


def _limits_hint(name: str) -> str:
    from artgen.spec import settings

    for group in settings.SETTING_GROUPS:
        limits = settings.describe_limits(found) if (found := settings.settings_of(group).get(name)) else ""
        if limits:
            return f"Range: {limits}."
    return ""


def extra_arguments_error(context: Any, extra: Sequence[str], args: Sequence[str]) -> UsageError:
    """Return the error for positional arguments that the command does not take.

    Args:
        context: context of the command.
        extra: arguments that are not used.
        args: all arguments, without hidden aliases.
    """
    command = context.command
    message = f"Unexpected argument '{extra[0]}'."
    if command.name == "txt2img" and (image := next(filter(is_image_name, extra), "")):
        prompt = " ".join(word for word in _positionals(context, args) if word != image)
        return UsageError(
            f"Unexpected argument '{image}': txt2img takes no image.",
            shell_command("artgen img2img", [image, *([prompt] if prompt else [])]),
        )
    if any("PROMPT" in each.make_metavar(context) for each in command.params if each.param_type_name == "argument"):
        hint = quoted_command(context, args)
        return UsageError(message, f"Quote a prompt that contains spaces: {hint}".removesuffix(": "))
    return UsageError(message, example_of(context) or help_hint(context))


def is_image_name(text: str) -> bool:
    """Return whether a text is the name of an image file."""
    if not Path(text).suffix:
        return False
    from artgen.images import IMAGE_SUFFIXES

    return Path(text).suffix.lower() in IMAGE_SUFFIXES


def _positionals(context: Any, args: Sequence[str]) -> list[str]:
    parameters = context.command.get_params(context)
    return [text for text, kind in iter_arguments(parameters, args) if kind == "positional"]


def quoted_command(context: Any, args: Sequence[str]) -> str:
    """Return the command line with the images first and all words of the prompt in quotes; empty if it is too long."""
    arguments = list(iter_arguments(context.command.get_params(context), args))
    words = [each.text for each in arguments if each.kind == "positional"]
    images = [word for word in words if is_image_name(word) or os.path.lexists(word)]
    images = [] if context.command.name == "txt2img" else images
    prompt = " ".join(word for word in words if word not in images)
    others = [each.text for each in arguments if each.kind != "positional"]
    return shell_command(program_path(context), [*images, prompt, *others])


def several_prompts_error(word: str) -> UsageError:
    """Return the error for a command with images and several texts; `word` is the second text."""
    hint = quoted_command(*command_line())
    return UsageError(
        f"Unexpected argument '{word}': the prompt is already set.",
        f"Quote a prompt that contains spaces: {hint}".removesuffix(": "),
    )


def missing_image_error(prompt: str, images: Sequence[Path]) -> UsageError:
    """Return the error for a command whose first argument is a prompt in place of an image.

    Args:
        prompt: first argument.
        images: the other arguments that are images.
    """
    context, args = command_line()
    name = context.command.name
    message = f"Cannot use '{excerpt(prompt)}' as the image of {name}: the file does not exist."
    if images:
        return UsageError(message, f"The image comes before the prompt: {quoted_command(context, args)}")
    text_only = shell_command("artgen txt2img", [prompt])
    return UsageError(
        message,
        f"The image comes before the prompt: {shell_command(f'artgen {name}', ['IMAGE', prompt])}. To generate an "
        f"image from the prompt alone: {text_only}",
    )


def several_lines_note(text: str, context: Any, args: Sequence[str]) -> str:
    """Return the note for a prompt of several lines from stdin; empty for one line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or context.command.name not in ("txt2img", "img2img", "inpaint", "outpaint"):
        return ""
    options = [each for each in args if each != "-"]
    batch = shell_command("artgen batch -", options) if context.command.name == "txt2img" else "artgen batch -"
    return f"The {len(lines)} lines from stdin are one prompt. To generate an image for each line: {batch}"


def unknown_command_error(name: str, context: Any, commands: Sequence[str]) -> UsageError:
    """Return the error for a command that a command group does not have."""
    group = command_name(context)
    hint = command_hint(name, commands, group)
    path = f"{program_path(context)} " if group else ""
    return UsageError(f"Unknown command '{path}{name}'.", hint or f"Commands: {', '.join(commands)}.")
