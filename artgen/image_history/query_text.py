"""Convert the words of a search to expressions of FTS5, SQLite's full-text search.

Each word is quoted, so that no word is an operator, and an unbalanced quote is not an error. All words must occur. A
word also finds longer words that begin with it: `fox` finds `foxes`. Words in double quotes are a phrase. A word that
begins with `-` must not occur.
"""

import re
import unicodedata
from typing import NamedTuple

_PART = re.compile(r'(?P<minus>(?<!\S)-(?=["\w]))?(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+))|"')


class TextExpressions(NamedTuple):
    """Store the expressions of FTS5 for a search.

    Attributes:
        required: expression that an entry must match; empty if each entry matches.
        excluded: expression that an entry must not match; empty if none is excluded.
    """

    required: str
    excluded: str


def text_expressions(text: str) -> TextExpressions:
    """Return the expressions for a text. Parts without letters and digits are ignored, as in the index."""
    required: list[str] = []
    excluded: list[str] = []
    for match in _PART.finditer(text.replace("\0", " ")):
        phrase, word = match["phrase"], match["word"]
        content = phrase if phrase is not None else word or ""
        if any(_is_indexed(each) for each in content):
            expression = _quoted(content) if phrase is not None else f"{_quoted(content)}*"
            (excluded if match["minus"] else required).append(expression)
    return TextExpressions(" AND ".join(required), " OR ".join(excluded))


def _is_indexed(character: str) -> bool:
    """Return whether a character is part of a word for the tokenizer unicode61: letters, digits, private use."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "Co"


def _quoted(text: str) -> str:
    return '"' + text.encode("utf-8", "replace").decode().replace('"', '""') + '"'
