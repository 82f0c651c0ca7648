"""Split an incomplete command line into words, as bash, zsh and fish do."""

from typing import NamedTuple

_BLANKS = " \t\n"
_DOUBLE_QUOTED_ESCAPES = '"\\$`\n'


class SplitLine(NamedTuple):
    """Represent a command line up to the cursor.

    Attributes:
        words: complete words, without quotes.
        current: the word at the cursor, without quotes; empty after a blank.
        quote: quotation mark that is open at the cursor; empty if there is none.
        fixed: begin of `current` that the shell does not replace, because it ends with a break character or with an
            open quotation mark.
    """

    words: list[str]
    current: str
    quote: str
    fixed: str


def split_line(line: str, breaks: str = "") -> SplitLine:
    """Split a command line. Substitutions such as `$HOME` are text.

    Args:
        line: command line up to the cursor.
        breaks: characters at which the shell starts a new word to complete: `COMP_WORDBREAKS` of bash.
    """
    words: list[str] = []
    current, fixed, quote = "", "", ""
    is_word = False
    index = 0
    while index < len(line):
        char = line[index]
        index += 1
        following = line[index : index + 1]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and following and following in _DOUBLE_QUOTED_ESCAPES:
                current += following
                index += 1
            else:
                current += char
        elif char in _BLANKS:
            if is_word:
                words.append(current)
            current, fixed, is_word = "", "", False
            continue
        elif char == "\\" and following:
            current += following
            index += 1
        elif char in "'\"":
            quote, fixed = char, current
        else:
            current += char
            if char in breaks:
                fixed = current
        is_word = True
    return SplitLine(words, current, quote, fixed)
