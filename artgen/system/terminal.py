"""Sanitize untrusted text before it is printed to a terminal.

Prompts, image metadata, names of files and models, and messages of other libraries can contain escape sequences that
move the cursor, change the window title, write the clipboard (OSC 52) or reverse the text (U+202E). This module
replaces them with visible escapes. JSON output is not sanitized, because it must be exact.
"""

import os
import re
import shutil
import unicodedata
from typing import TextIO

MAX_MESSAGE_CHARS = 800

# Cc: control; Cf: format (bidi overrides, zero width, tags); Cs: lone surrogates; Zl, Zp: line, paragraph separators
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINER = "\ue000"
"""Private character in place of a space at which a line is not broken."""
_PRINTABLE_ASCII = re.compile(r"[ -~]*\Z")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is open and connected to a terminal."""
    return stream is not None and stream.isatty()


def has_styles(stream: TextIO | None) -> bool:
    """Return whether a stream may receive escape sequences: a terminal, unless NO_COLOR or TERM=dumb is set."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_columns(stream: TextIO) -> int:
    """Return the width of the terminal that a stream is connected to."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def fit_words(text: str, stream: TextIO | None, hanging_indent: str = "") -> str:
    """Return `text` with line breaks between words, so that a terminal does not break lines inside words.

    A command in backticks stays on one line. The text is unchanged if it fits, or if the stream is not a terminal.
    """
    if stream is None or not is_terminal(stream) or len(text) <= (columns := terminal_columns(stream)):
        return text
    import textwrap

    joined = re.sub("`[^`]*`", lambda match: match[0].replace(" ", _JOINER), text)
    lines = textwrap.wrap(
        joined, columns, subsequent_indent=hanging_indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace(_JOINER, " ")


def printable(text: str) -> str:
    r"""Return `text` with each control character replaced by a visible escape.

    A newline becomes the two characters `\n`, ESC becomes `\x1b`, and U+202E becomes `\u202e`. The result is one line
    that can be encoded as UTF-8, and `printable(printable(x)) == printable(x)`. Backslashes are not escaped, so the
    result cannot be parsed back.
    """
    if _PRINTABLE_ASCII.match(text):
        return text
    return "".join(_escape_character(character) for character in text)


def printable_message(text: str) -> str:
    """Return `printable(text)`; the middle of a text of more than `MAX_MESSAGE_CHARS` characters is omitted.

    A message can quote a value or a path of any length.
    """
    if len(text) > MAX_MESSAGE_CHARS:
        kept = MAX_MESSAGE_CHARS // 2
        text = f"{text[:kept]} [{len(text) - 2 * kept:,} characters omitted] {text[-kept:]}"
    return printable(text)


def printable_path(text: str) -> str:
    """Return `printable(text)`, in which bytes that are not UTF-8 and the joiners U+200C and U+200D are kept.

    The result is the exact path unless it contains control characters, so that a script can use a printed path. Pass
    only paths: in other text, the surrogates that stand for such bytes could form an escape sequence.
    """
    return "".join(each if _is_kept_in_paths(each) else _escape_character(each) for each in text)


def _is_kept_in_paths(character: str) -> bool:
    return "\udc80" <= character <= "\udcff" or character in "\u200c\u200d"


def markup_safe(text: str) -> str:
    """Return `printable(text)` with rich's markup escaped, for use inside a rich markup string.

    Without surrounding markup, print `rich.text.Text(printable(text))` instead: in markup, rich also replaces emoji
    codes such as `:fox:`, and `escape` does not prevent this.
    """
    from rich.markup import escape

    return escape(printable(text))


def _escape_character(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED_CATEGORIES:
        return character
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
