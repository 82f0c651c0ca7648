"""Write typed arguments into the hint for an unknown command.

Import this module only to report an error.
"""

import re
import shlex
from collections.abc import Sequence

from artgen.cli.usage_errors import is_image_name, shell_command
from artgen.errors import ArtgenError

_COMMAND = re.compile(r"`(artgen(?: [a-z0-9]+)+) ([A-Z]{4,}[^`]*)`")
_PLACEHOLDER = re.compile(r"(?<![\w/])[A-Z]{4,}(?:\.\.\.)?(?![\w/])")


def with_arguments(hint: str, args: Sequence[str]) -> str:
    """Return a hint with typed arguments in place of `MODEL`, `IMAGE` and others in its first command.

    The hint is unchanged if the arguments do not fit. Options are not used, because the command may not have them.

    Args:
        hint: sentences; a command is in backquotes: `` `artgen models pull MODEL` ``.
        args: arguments after the unknown command.
    """
    count = next((i for i, each in enumerate(args) if each.startswith("-")), len(args))
    match = _COMMAND.search(hint)
    if match is None or not count:
        return hint
    images = [each for each in args[:count] if is_image_name(each)]
    texts = [each for each in args[:count] if each not in images]
    words = []
    for word in shlex.split(match[2]):
        if word == "PROMPT" and texts and any(letter.isalpha() for letter in " ".join(texts)):
            words.append(" ".join(texts))
            texts = []
        elif word in ("IMAGE", "MASK") and images:
            words.append(images.pop(0))
        elif word == "IMAGE...":
            words += [*images, *texts] or [word]
            images, texts = [], []
        elif _PLACEHOLDER.fullmatch(word) and word not in ("IMAGE", "MASK", "PROMPT") and texts:
            words.append(texts.pop(0))
        else:
            words.append(word)
    typed = shell_command(match[1], words)
    return hint if texts or images or not typed else hint.replace(match[0], f"`{typed}`")


def command_for_name(group: str, args: Sequence[str]) -> str:
    """Return the command for a setting after `artgen config`, or a preset after `artgen preset`; empty for others."""
    name, _, value = args[0].partition("=")
    values = [value] if value else list(args[1:])
    try:
        if group == "config":
            from artgen.spec.config_values import parse_name

            parse_name(name)
            return shell_command("artgen config set" if values else "artgen config get", [name, *values])
        if group == "preset":
            from artgen.spec.presets import find_preset

            return shell_command("artgen preset show", [find_preset(name).name])
    except ArtgenError:
        pass
    return ""
