"""The one sanitiser for text that artgen did not write itself and that reaches a terminal.

Prompts, picture metadata, file and model names and the messages of foreign exceptions can hold escape sequences
that move the cursor, change the window title, fill the clipboard (OSC 52) or turn text around (U+202E). They are
shown as visible escapes instead. JSON output never passes through here: it stays exact.
"""

import re
import unicodedata

# Cc control, Cf format (bidi overrides, zero width, tags), Cs lone surrogates, Zl and Zp line and paragraph separators
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PRINTABLE_ASCII = re.compile(r"[ -~]*\Z")


def printable(text: str) -> str:
    r"""Return `text` with every character that a terminal could act on as a visible escape.

    A newline becomes the two characters `\n`, ESC becomes `\x1b`, U+202E becomes `\u202e`. The result is one line,
    can always be encoded as UTF-8, and `printable(printable(x)) == printable(x)`. Backslashes stay as they are, so
    the result is for people to read, not for a program to parse back.
    """
    if _PRINTABLE_ASCII.match(text):
        return text
    return "".join(_escape_character(character) for character in text)


def markup_safe(text: str) -> str:
    """Return `printable(text)` with rich's markup escaped, for a place inside a rich markup string.

    Where no markup is wanted around the text, print `rich.text.Text(printable(text))` instead: rich also replaces
    emoji codes such as `:fox:` in markup, and `escape` does not prevent that.
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
