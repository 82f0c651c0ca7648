"""Interpret a first argument that is not a command: a prompt, a file, or a word of another tool.

Import this module only if the first argument is not a command.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.cli.console import print_note
from artgen.cli.usage_errors import is_image_name, shell_command, unknown_command_error
from artgen.errors import UsageError
from artgen.spec.synonyms import command_hint, similar_names
from artgen.system.arguments import is_prompt
from artgen.system.input_files import PROMPT_FILE_SUFFIXES


def txt2img_arguments(context: Any, args: Sequence[str], commands: Sequence[str]) -> list[str]:
    """Return the arguments of `txt2img` if the first argument is a prompt, and print a note.

    A text with a space, or with letters or punctuation that no command has, is a prompt, unless it begins with a
    command. One plain word is never a prompt, because it may be a misspelled command.

    Raises:
        UsageError: the first argument is not a prompt.
    """
    text = args[0]
    words = text.split()
    if len(words) > 1 and (match := re.match(r"/imagine\s+(?:prompt\s*:\s*)?", text, re.IGNORECASE)):
        typed = shell_command("artgen txt2img", [text[match.end() :], *args[1:]])
        raise UsageError(f"Unknown command '{words[0]}'.", f"To generate an image: {typed}".removesuffix(": "))
    if _is_file(text):
        raise UsageError(f"Unknown command '{text}'.", _file_hint(text))
    if not words or not is_prompt(text):
        raise _unknown_error(context, args, commands)
    from artgen.spec.prompt_checks import excerpt

    command = _first_command(words[0], commands)
    if command:
        others = shell_command(f"artgen {command}", text.split()[1:]) or f"artgen {command}"
        raise UsageError(
            f"Cannot run '{excerpt(text)}': it begins with the command '{command}'.",
            f"To run the command: {others}. To generate an image: {shell_command('artgen txt2img', args)}",
        )
    if not {"-q", "--quiet"} & set(args):
        print_note(f"Running artgen txt2img with the prompt '{excerpt(text)}'.")
    return list(args)


def _first_command(word: str, commands: Sequence[str]) -> str:
    """Return the command that a text begins with, which may be misspelled if no other word is like it: `txt2im`."""
    if word in commands:
        return word
    has_digit = any(letter.isdecimal() for letter in word)
    return next(iter(similar_names(word, commands)), "") if has_digit else ""


def _is_file(text: str) -> bool:
    try:
        is_name = bool(Path(text).suffix) and len(text.split()) == 1
        return os.path.lexists(text) or (is_name and (is_image_name(text) or _is_prompt_file_name(text)))
    except (OSError, ValueError):
        return False


def _is_prompt_file_name(text: str) -> bool:
    return Path(text).suffix.lower() in PROMPT_FILE_SUFFIXES


def _file_hint(text: str) -> str:
    if is_image_name(text):
        change = shell_command("artgen img2img", [text, "a blue fox"])
        return f"To print the settings of the image: {shell_command('artgen info', [text])}. To change it: {change}"
    if _is_prompt_file_name(text):
        return f"To generate the images of a prompt file: {shell_command('artgen batch', [text])}"
    return "`artgen --help` lists the commands."


def _unknown_error(context: Any, args: Sequence[str], commands: Sequence[str]) -> UsageError:
    """Return the error for a word that is not a command. The hint for a word such as `draw` contains the prompt."""
    error = unknown_command_error(args, context, commands)
    hint = command_hint(args[0], commands)
    count = next((i for i, each in enumerate(args) if each.startswith("-")), len(args))
    if "run `artgen txt2img" in hint and count > 1:
        typed = shell_command("artgen txt2img", [" ".join(args[1:count]), *args[count:]])
        return UsageError(error.message, f"To generate an image: {typed}") if typed else error
    if hint or not args[0].isprintable() or {"-h", "--help", "--help-all"} & set(args):
        return error
    if not args[0].strip(" -"):
        return UsageError(error.message, "`artgen --help` lists the commands. A prompt from stdin: artgen txt2img -")
    typed = shell_command("artgen txt2img", [" ".join(args[:count]), *args[count:]])
    return UsageError(error.message, f"`artgen --help` lists the commands. To generate an image: {typed}")
