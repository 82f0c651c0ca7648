"""Parse a line of a `.txt` prompt file: a prompt, then options as on the command line."""

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
    """Parse the settings of a line such as `a red fox --seed 7 --steps 40`.

    The prompt ends at the first option. It does not need quotes: apostrophes and `#` are text. Double quotes around the
    complete prompt are removed. The value of an option follows after a space or `=`; a value with spaces is quoted. A
    switch such as `--invert-mask` has no value; `--no-keep-original` turns a switch off.

    Raises:
        UsageError: an option is unknown or has no value, or a value has the wrong type.
    """
    first = _FIRST_OPTION.search(text)
    prompt = _strip_quotes(text[: first.start()] if first else text)
    values: dict[str, Any] = {"prompt": prompt} if prompt else {}
    if first is None:
        return values
    try:
        tokens = iter(shlex.split(text[first.start() :]))
    except ValueError as error:
        raise UsageError(f"Cannot parse the options: {str(error).lower()}.", "Close the quotation marks.") from error
    for token in tokens:
        if not token.startswith("-") or token == "-":
            raise UsageError(
                f"Cannot parse {token!r}: it follows an option.", "Put the prompt first, and quote values with spaces."
            )
        name, value = _parse_option(token, tokens)
        if name in values and not isinstance(value, tuple):
            raise UsageError(f"Cannot set {name} twice in a line.", "Remove one of the two values.")
        # Values of repeatable options accumulate, as on the command line.
        values[name] = (*values.get(name, ()), *value) if isinstance(value, tuple) else value
    return values


def _parse_option(token: str, remaining_tokens: Iterator[str]) -> tuple[str, Any]:
    flag, separator, text = token.partition("=")
    if flag not in option_flags():
        similar = difflib.get_close_matches(flag, list(option_flags()), n=3)
        hint = f"Similar options: {', '.join(similar)}." if similar else ""
        raise UsageError(f"Cannot use the option '{flag}': it is unknown.", hint)
    name, switch = option_flags()[flag]
    if switch is not None:
        if separator:
            raise UsageError(f"Cannot use '{token}': it is a switch, which takes no value.")
        return name, switch
    if not separator:
        next_token = next(remaining_tokens, None)
        if next_token is None:
            raise UsageError(f"Cannot use '{flag}' without a value.")
        text = next_token
    if name in LINE_SETTINGS and type_of(LINE_SETTINGS[name], name)[0] is tuple:
        return name, (text,)
    return name, parse_text_value(name, text)


@cache
def option_flags() -> dict[str, tuple[str, bool | None]]:
    """Return every option of a line -> its setting, and the value of the setting if the option is a switch."""
    flags: dict[str, tuple[str, bool | None]] = {"--task": ("task", None)}
    for name, group in LINE_SETTINGS.items():
        spec = options_of(group)[name].metadata["setting"]
        long = name.replace("_", "-")
        if type_of(group, name)[0] is bool:
            for flag in (f"--{long}", *spec.aliases):
                flags |= {flag: (name, True), f"--no-{flag[2:]}": (name, False)}
        else:
            flags |= dict.fromkeys((*(spec.flags or (f"--{long}",)), *spec.aliases), (name, None))
    return flags


def _strip_quotes(prompt: str) -> str:
    prompt = prompt.strip()
    if len(prompt) > 1 and prompt[0] == prompt[-1] == '"' and '"' not in prompt[1:-1]:
        return prompt[1:-1]
    return prompt
