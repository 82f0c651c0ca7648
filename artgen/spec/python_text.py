"""Convert the options in messages and hints to keywords of the Python API."""

import contextlib
import functools
import json
import re
import shlex
from collections.abc import Iterator

from artgen.errors import ArtgenError
from artgen.spec import settings
from artgen.spec.settings import TASK_NAMES, options_of, settings_of, type_of

_OPTION_PATTERN = re.compile(
    r"(?<![\w-])(?P<flag>--[a-z][a-z0-9-]*|-[a-zA-Z](?![\w-]))(?:[ =](?P<value>\"[^\"]*\"|[^\s;`)]*[^\s,;:`).]))?"
)
_COMMAND_PATTERN = re.compile(r"(`artgen [^`]*`|^artgen .*$|(?<=: )artgen (?:[^.]|\.(?! |$))*|^a red fox .*$)")
"""Commands: between backticks, a complete text, or after a colon. Lines of a prompt file are also not changed."""

_ADVICE_PATTERN = re.compile(r"\b(add|use|try|pass|set)\s`?$", re.IGNORECASE)
_END_OF_ADVICE_PATTERN = re.compile(r"[.,;)`]|$| (or|and)\b")
_NUMBERS_PATTERN = re.compile(r"\d+(,\d+)+")
_REMOVAL_PATTERN = re.compile(r"\b(remove|omit|without|cannot)\b[^.;]*$", re.IGNORECASE)
_METAVAR_PATTERN = re.compile(r"[A-Z][A-Z:_]*")
_NUMBER_PATTERN = re.compile(r"-?\d+(\.\d+)?")


@contextlib.contextmanager
def for_python() -> Iterator[None]:
    """Convert the message and the hint of an ArtgenError in the block."""
    try:
        yield
    except ArtgenError as error:
        error.message, error.hint = python_text(error.message), python_text(error.hint)
        error.args = (error.message,)
        raise


def python_text(text: str) -> str:
    """Return a text in which options such as `--strength 0.5` are keywords, such as `strength=0.5`.

    Commands of images are calls. Other commands, and options that are not settings, stay as they are.
    """
    parts = _COMMAND_PATTERN.split(text.replace("--set ", "").replace("--set:", "change:"))
    parts[::2] = [_OPTION_PATTERN.sub(_keyword, part) for part in parts[::2]]
    parts[1::2] = [_python_call(part) for part in parts[1::2]]
    return "".join(parts)


def _python_call(command: str) -> str:
    """Return a command of an image as a call: `artgen.txt2img("a fox", steps=20)`. Other commands are unchanged."""
    mark = "`" if command.startswith("`") else ""
    try:
        tool, name, *words = shlex.split(command.strip("`"))
    except ValueError:
        return command
    if tool != "artgen":
        return command
    arguments: list[str] = []
    while words:
        word = words.pop(0)
        keyword, fixed = _keywords().get(word, ("", None))
        if word.startswith("-") and not keyword:
            return command
        if keyword:
            value = fixed or (_literal(words.pop(0)) if words else "")
            arguments.append(f"{keyword}={value}")
        else:
            arguments.append(_literal(word))
    return f"{mark}artgen.{name}({', '.join(arguments)}){mark}" if name in (*TASK_NAMES, "replay") else command


def _literal(word: str) -> str:
    is_bare = _NUMBER_PATTERN.fullmatch(word) or _METAVAR_PATTERN.fullmatch(word)
    return word if is_bare else json.dumps(word, ensure_ascii=False)


def _keyword(match: re.Match[str]) -> str:
    value = match["value"]
    keyword, fixed = _keywords().get(match["flag"], ("", None))
    if not keyword:
        return match[0]
    rest = match[0][len(match["flag"]) :]
    if fixed is not None:  # a switch
        is_removed = _REMOVAL_PATTERN.search(match.string[: match.start()]) is not None
        return (keyword if is_removed else f"{keyword}={fixed}") + rest
    if value is None:
        return keyword
    if value.startswith("'"):  # a quoted value of the user
        return f"{keyword} {value}"
    is_literal = value.startswith('"') or _NUMBER_PATTERN.fullmatch(value) or _METAVAR_PATTERN.fullmatch(value)
    if is_literal:
        return f"{keyword}={value}"
    if _NUMBERS_PATTERN.fullmatch(value):
        return f"{keyword}=[{value.replace(',', ', ')}]"
    is_code = match.string[match.start() - 1 : match.start()] == "`" == match.string[match.end() : match.end() + 1]
    is_text = value in _choices().get(keyword, ()) or any(character in value for character in "/.=_:,")
    is_advice = (
        value not in ("or", "and")
        and _ADVICE_PATTERN.search(match.string[: match.start()])
        and _END_OF_ADVICE_PATTERN.match(match.string[match.end() :])
    )
    return f"{keyword}={value!r}" if is_code or is_text or is_advice else f"{keyword}{rest}"


@functools.cache
def _keywords() -> dict[str, tuple[str, str | None]]:
    """Return the keyword of each option, and the value that the option gives a setting that is true or false.

    An option with the name of a setting is this setting, although other settings may have the option as a flag.
    """
    found: dict[str, tuple[str, str | None]] = {}
    declared = [(name, group) for group in settings.SETTING_GROUPS for name in options_of(group)]
    named = [(f"--{name.replace('_', '-')}", name, group) for name, group in declared]
    flagged = [
        (flag.partition("/")[0], name, group) for name, group in declared for flag in settings_of(group)[name].flags
    ]
    for flag, name, group in named + flagged:
        is_switch = type_of(group, name)[0] is bool
        found.setdefault(flag, (name, "True" if is_switch else None))
        if is_switch:
            found.setdefault(f"--no-{flag[2:]}", (name, "False"))
    return found


@functools.cache
def _choices() -> dict[str, set[str]]:
    """Return the choices of each setting. Settings of several commands may have the same name."""
    found: dict[str, set[str]] = {}
    for group in settings.SETTING_GROUPS:
        for name, setting in settings_of(group).items():
            found.setdefault(name, set()).update(setting.choices)
    return found
