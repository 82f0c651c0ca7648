"""Find parts of prompts that look like wildcards or variants, and are text."""

import re
from collections import Counter

from artgen.spec.wildcards import SELECTION_PATTERN

_VARIABLE = re.compile(r"\$\{\w{1,80}[?!:=}]")
_SAMPLER = re.compile(r"\{([~@!])[^{}|\n]{0,80}(?=\|)")
_NUMBER = re.compile(r"\{([^{}|$\n]{0,80})\$\$")
_BRACE = re.compile(r"(?<!\\)[{}]")


def unsupported_parts(text: str) -> list[str]:
    """Return notes about parts of a prompt that look like wildcards or variants, and are text."""
    notes = []
    if match := _VARIABLE.search(text):
        notes.append(f"'{match[0]}' is text: artgen does not support variables of sd-dynamic-prompts.")
    if match := _SAMPLER.search(text):
        notes.append(f"'{match[1]}' in '{match[0]}' is text: artgen does not support samplers of sd-dynamic-prompts.")
    for match in _NUMBER.finditer(text):
        if not SELECTION_PATTERN.match(match[0], 1) or not any(
            symbol.isdigit() or symbol == "-" for symbol in match[1]
        ):
            notes.append(
                f"'{match[0]}' is text: a number or range of options must precede '$$', such as {{1-2$$red|blue}}."
            )
            break
    braces = Counter(_BRACE.findall(text))
    if "|" in text and braces["{"] != braces["}"]:
        notes.append("A brace without a counterpart is text. For a literal brace, write \\{ or \\}.")
    return notes
