"""Find the words and phrases of a word list in prompts."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from artgen.errors import InputFileError
from artgen.system.external_data import decode_text

MAX_WORD_LIST_BYTES = 1 << 20

MAX_PHRASE_CHARS = 200

_HINT = "A word list is a UTF-8 text with one word or phrase per line; # starts a comment."

_UNSPACED_SCRIPTS = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ")
"""Start of the Unicode names of the letters of scripts that do not separate words."""

Phrase = tuple[str, ...]
"""Words of a phrase, normalized."""


@dataclass(frozen=True)
class WordList:
    """Store words and phrases. `find` compares whole words, without case.

    Attributes:
        phrases: phrases by their first word.
        parts: texts of scripts that do not separate words; they match anywhere.
    """

    phrases: Mapping[str, tuple[Phrase, ...]]
    parts: tuple[str, ...] = ()

    def find(self, text: str) -> str | None:
        """Return the first word or phrase of the list that a text contains, normalized; None if it contains none.

        Both are compared after Unicode normalization (NFKC), case folding, and the removal of invisible format
        characters. All other characters except letters, digits and their marks separate words.
        """
        words = split_words(text)
        for start, word in enumerate(words):
            for phrase in self.phrases.get(word, ()):
                if words[start : start + len(phrase)] == list(phrase):
                    return " ".join(phrase)
        joined = " ".join(words)
        return next((part for part in self.parts if part in joined), None)


def split_words(text: str) -> list[str]:
    """Return the normalized words of a text."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFKC", visible.casefold())
    return "".join(char if _is_letter(char) else " " for char in folded).split()


def _is_letter(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char).startswith("M")


def parse_word_list(data: bytes, name: str) -> WordList:
    """Return the word list in a file.

    Args:
        data: content of the file: UTF-8 with or without a byte order mark.
        name: name of the file, for messages.

    Raises:
        InputFileError: the file is not UTF-8, is too large, has no words, or a line has no letter or digit.
    """
    title = f"Cannot use the word list '{name}'"
    if len(data) > MAX_WORD_LIST_BYTES:
        raise InputFileError(f"{title}: it has more than {MAX_WORD_LIST_BYTES >> 20} MiB.", _HINT)
    try:
        text = decode_text(data)
    except ValueError as error:
        raise InputFileError(f"{title}: {error}.", _HINT) from error
    phrases = list(_phrases(text, title))
    if not phrases:
        raise InputFileError(f"{title}: it contains no words.", _HINT)
    return _word_list(phrases)


def _phrases(text: str, title: str) -> Iterator[Phrase]:
    for number, line in enumerate(text.splitlines(), 1):
        phrase = line.partition("#")[0].strip()
        if not phrase:
            continue
        words = split_words(phrase)
        if not words:
            raise InputFileError(f"{title}: line {number} has no letters: {phrase[:40]!r}.", _HINT)
        if len(phrase) > MAX_PHRASE_CHARS:
            raise InputFileError(f"{title}: line {number} has more than {MAX_PHRASE_CHARS} characters.", _HINT)
        yield tuple(words)


def _word_list(phrases: Iterable[Phrase]) -> WordList:
    by_word: dict[str, dict[Phrase, None]] = {}
    parts: dict[str, None] = {}
    for phrase in phrases:
        if any(map(_is_unspaced, "".join(phrase))):
            parts[" ".join(phrase)] = None
        else:
            by_word.setdefault(phrase[0], {})[phrase] = None
    return WordList({word: tuple(found) for word, found in by_word.items()}, tuple(parts))


def _is_unspaced(char: str) -> bool:
    return unicodedata.name(char, "").startswith(_UNSPACED_SCRIPTS)
