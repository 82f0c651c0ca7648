"""Convert the usage errors of Typer to errors of artgen: what was expected, what was received, and a hint.

Import this module only to report an error.
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from artgen.cli.arguments import command_line, command_name, iter_arguments
from artgen.errors import UsageError
from artgen.spec.prompt_checks import excerpt
from artgen.spec.synonyms import command_hint, option_hint

MAX_SHOWN_CHARS = 200
"""Limit of a command line in a hint."""

_errors: Any = sys.modules[typer.BadParameter.__module__]
"""The module that defines the usage errors of Typer, which exports only some of them."""

_CURLY_QUOTES = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"


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
        return _missing_error(error.param, context, args)
    if isinstance(error, _errors.BadParameter) and error.param is not None:
        from artgen.cli.value_errors import invalid_value_error

        return invalid_value_error(error, context, args)
    return UsageError(f"{error.format_message().rstrip('.')}.", help_hint(context))


def program_path(context: Any) -> str:
    """Return the name of a command with the program: `artgen models list`."""
    return f"artgen {command_name(context)}".rstrip()


def help_hint(context: Any) -> str:
    """Return the hint that names the help of a command."""
    return f"Run `{program_path(context)} --help` for all options."


def unknown_option_error(name: str, context: Any, args: Sequence[str]) -> UsageError:
    """Return the error for an option that the command does not have."""
    flags = canonical_flags(context)
    command = command_name(context)
    typed = next((each.partition("=")[0] for each in args if _begins_with(each, name)), name)
    if not name.startswith("--") and len(typed) > 2:
        name = typed  # -steps: the parser reports -e
    plain, _, value = name.partition(":")
    hint = _change_hint(plain, flags) or option_hint(name, flags, command, canonical_names=flags)
    if value and not hint:
        hint = option_hint(plain, flags, command, canonical_names=flags)
    text = next((each for each in args if each.startswith(name)), "")
    if not hint and text and (len(text.split()) > 1 or name[1:2].isdecimal()):
        separated = shell_command(program_path(context), [*(each for each in args if each != text), "--", text])
        hint = f"Before a text that begins with a dash, write --: {separated}".removesuffix(": ")
    if not command and not hint and (positional := _txt2img_command(args)):
        hint = f"Options of a command follow its name: {positional}"
    if not hint and hasattr(context.command, "list_commands"):
        hint = command_hint(name, context.command.list_commands(context), command)
    return UsageError(f"Unknown option '{name}'.", hint or help_hint(context))


def _change_hint(option: str, flags: Mapping[str, str]) -> str:
    """Return `--set steps=VALUE` for `--steps` if a command changes recorded settings; empty for other options."""
    if "--set" not in flags:
        return ""
    from artgen.spec.requests import Edit, Inpaint, Txt2Img
    from artgen.spec.settings import options_of

    setting = option.removeprefix("--").replace("-", "_")
    return (
        f"Use --set {setting}=VALUE." if any(setting in options_of(each) for each in (Txt2Img, Inpaint, Edit)) else ""
    )


def _begins_with(argument: str, name: str) -> bool:
    if name.startswith("--"):
        return argument.partition("=")[0] == name
    return bool(re.match(r"-[A-Za-z][A-Za-z_-]", argument)) and name[1:] in argument[1:]


def canonical_flags(context: Any) -> dict[str, str]:
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


def _missing_error(parameter: Any, context: Any, args: Sequence[str]) -> UsageError:
    name = parameter.make_metavar(context) if parameter.param_type_name == "argument" else parameter.opts[-1]
    kind = "argument" if parameter.param_type_name == "argument" else "option"
    name = name.removesuffix("...").strip("[]") if kind == "option" else name.removesuffix("...").strip("[]").upper()
    return UsageError(
        f"Cannot run `{program_path(context)}`: the {kind} {name} is missing.",
        _assignment_hint(context, args) or example_of(context) or help_hint(context),
    )


def _assignment_hint(context: Any, args: Sequence[str]) -> str:
    """Return `artgen config set steps 30` for `artgen config set steps=30`."""
    name, separator, value = next((each for each in args if not each.startswith("-")), "").partition("=")
    if command_name(context) != "config set" or not separator:
        return ""
    options = [each for each in args if each.startswith("-")]
    return shell_command(program_path(context), [name.strip(), value.strip(), *options])


def example_of(context: Any) -> str:
    """Return the example in the help of a command; empty if there is none."""
    lines = [line.strip() for line in (context.command.help or "").splitlines()]
    return next((line for line in lines if line.startswith("artgen ")), "")


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
    if assigned := _assigned_option(extra[0], context):
        return UsageError(message, f"Did you mean {assigned}?")
    if any("PROMPT" in each.make_metavar(context) for each in command.params if each.param_type_name == "argument"):
        hint = quoted_command(context, args)
        return UsageError(message, _quoting_hint(hint))
    return UsageError(message, example_of(context) or help_hint(context))


def _assigned_option(text: str, context: Any) -> str:
    """Return `--steps 20` for `steps=20`, `/steps` or `+steps`; empty for other texts."""
    match = re.fullmatch(r"[/+]?([A-Za-z][\w-]*)(?:=(.*))?", text, re.DOTALL)
    flag = f"--{match[1].replace('_', '-')}" if match and (match[2] is not None or text[0] in "/+") else ""
    found = canonical_flags(context).get(flag, "")
    return shell_command(found, [match[2]] if match and match[2] else []) if found else ""


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
    if any(each.kind == "option" and each.text.partition("=")[0] in ("-p", "--prompt") for each in arguments):
        return ""
    words = [each.text for each in arguments if each.kind == "positional"]
    images = [word for word in words if is_image_name(word) or os.path.lexists(word)]
    images = [] if context.command.name == "txt2img" else images
    prompt = " ".join(word for word in words if word not in images)
    if prompt[:1] in _CURLY_QUOTES:
        prompt = prompt.strip(_CURLY_QUOTES)
    others = [each.text for each in arguments if each.kind != "positional"]
    return shell_command(program_path(context), [*images, prompt, *others])


def _quoting_hint(command: str) -> str:
    return f"Quote a prompt that contains spaces: {command}" if command else "Quote a prompt that contains spaces."


def several_prompts_error(word: str) -> UsageError:
    """Return the error for a command with images and several texts; `word` is the second text."""
    hint = quoted_command(*command_line())
    return UsageError(
        f"Unexpected argument '{word}': the prompt is already set.",
        _quoting_hint(hint),
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


def unknown_command_error(args: Sequence[str], context: Any, commands: Sequence[str]) -> UsageError:
    """Return the error for a command that a command group does not have. `args` begins with the command."""
    from artgen.cli.command_hints import command_for_name, with_arguments

    name = args[0]
    group = command_name(context)
    hint = with_arguments(command_hint(name, commands, group), args[1:]) or command_for_name(group, args)
    path = f"{program_path(context)} " if group else ""
    return UsageError(f"Unknown command '{path}{name}'.", hint or f"Commands: {', '.join(commands)}.")
