"""Parse the values of options in a line of a prompt file."""

import shlex
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.spec.fields import describe_value


class LineOption(NamedTuple):
    """Represent an option: its flag with dashes and as typed, its position, and whether its value follows directly."""

    flag: str
    typed: str
    start: int
    end: int
    is_attached: bool = False


def _split(option: LineOption, value_text: str) -> list[str]:
    try:
        return shlex.split(value_text)
    except ValueError as error:
        raise UsageError(
            f"Cannot parse the value of '{option.typed}': {str(error).lower()}.", "Close the quotation marks."
        ) from error


def single_value(option: LineOption, value_text: str) -> str:
    """Return the value of an option that is one word or a quoted text."""
    text = value_text.removeprefix("=")
    words = _split(option, text)
    if not words and text == value_text:
        raise UsageError(f"Cannot use '{option.typed}' without a value.", "Add the value, or remove the option.")
    if len(words) > 1:
        raise UsageError(
            f"Cannot parse {describe_value(words[1])}: it follows an option.",
            "Put the prompt first, and quote values with spaces.",
        )
    return words[0] if words else ""


def joined_value(option: LineOption, value_text: str) -> str:
    """Return the value of an option that extends to the next option. Quotes around words are removed as in a shell."""
    text = value_text.removeprefix("=").strip()
    if not text and "=" not in value_text:
        raise UsageError(f"Cannot use '{option.typed}' without a value.", "Add the value, or remove the option.")
    return " ".join(_split(option, text)) if text.startswith(('"', "'")) else text


def check_switch(option: LineOption, value_text: str) -> None:
    """Check that a switch has no value.

    Raises:
        UsageError: a value or other text follows the switch.
    """
    if value_text.startswith("="):
        raise UsageError(
            f"Cannot use '{option.typed}{value_text.split()[0]}': it is a switch, which takes no value.",
            f"Write '{option.typed}'.",
        )
    if value_text.strip():
        raise UsageError(
            f"Cannot parse {describe_value(value_text.split()[0])}: it follows an option.",
            "Put the prompt first, and quote values with spaces.",
        )
