"""The grammar of a line in a `.txt` prompt file: words to draw, then options in artgen's own spelling."""

import difflib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS, parse_text_value
from artgen.spec.settings import options_of, type_of

_FIRST_OPTION = re.compile(r"(?:^|(?<=\s))(?:--[A-Za-z]|-[A-Za-z](?=\s|$))")


def parse_prompt_line(text: str) -> dict[str, Any]:
    """The settings that a line gives: `a red fox --seed 7 --steps 40`.

    The prompt ends where the first option begins, and needs no quotes: apostrophes and `#` in it are text. A prompt
    that stands in double quotes as a whole loses them. Options take their value after a blank or `=`, quoted where it
    has blanks; a switch such as `--invert-mask` takes none, and `--no-keep-original` turns one off.

    Raises:
        UsageError: an unknown option (with close names), one without its value, or a value of the wrong type.
    """
    first = _FIRST_OPTION.search(text)
    prompt = _strip_quotes(text[: first.start()] if first else text)
    given: dict[str, Any] = {"prompt": prompt} if prompt else {}
    if first is None:
        return given
    try:
        words = iter(shlex.split(text[first.start() :]))
    except ValueError as error:
        raise UsageError(f"The options cannot be read: {str(error).lower()}.", "Close the quotation marks.") from error
    for word in words:
        if not word.startswith("-") or word == "-":
            raise UsageError(f"Unexpected {word!r} after an option.", "Put the prompt first, and quote long values.")
        name, value = _parse_option(word, words)
        # What may be repeated adds up, as it does on the command line.
        given[name] = (*given.get(name, ()), *value) if isinstance(value, tuple) else value
    return given


def _parse_option(token: str, remaining_tokens: Iterator[str]) -> tuple[str, Any]:
    flag, separator, text = token.partition("=")
    if flag not in option_flags():
        close = difflib.get_close_matches(flag, list(option_flags()), n=3)
        raise UsageError(f"There is no option {flag}.", f"Close ones: {', '.join(close)}." if close else "")
    name, switch = option_flags()[flag]
    if switch is not None:
        if separator:
            raise UsageError(f"{flag} takes no value.")
        return name, switch
    if not separator:
        following = next(remaining_tokens, None)
        if following is None:
            raise UsageError(f"{flag} needs a value.")
        text = following
    if name in LINE_SETTINGS and type_of(LINE_SETTINGS[name], name)[0] is tuple:
        return name, (text,)
    return name, parse_text_value(name, text)


@cache
def option_flags() -> dict[str, tuple[str, bool | None]]:
    """Every spelling of every option that a line may hold: the setting, and for a switch what it is set to."""
    known: dict[str, tuple[str, bool | None]] = {"--task": ("task", None)}
    for name, group in LINE_SETTINGS.items():
        spec = options_of(group)[name].metadata["setting"]
        long = name.replace("_", "-")
        if type_of(group, name)[0] is bool:
            for flag in (f"--{long}", *spec.aliases):
                known |= {flag: (name, True), f"--no-{flag[2:]}": (name, False)}
        else:
            known |= dict.fromkeys((*(spec.flags or (f"--{long}",)), *spec.aliases), (name, None))
    return known


def _strip_quotes(prompt: str) -> str:
    prompt = prompt.strip()
    if len(prompt) > 1 and prompt[0] == prompt[-1] == '"' and '"' not in prompt[1:-1]:
        return prompt[1:-1]
    return prompt
