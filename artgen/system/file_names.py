"""Make texts safe as parts of file names."""

import re
import unicodedata

MAX_NAME_BYTES = 255
"""Longest file name of common file systems, in UTF-8 bytes."""

RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices."""

_FORBIDDEN_CHARS = frozenset('<>:"/\\|?*')
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"})


def sanitize_component(text: str) -> str:
    """Make a value safe as a part of a file name on all systems. The result can be empty.

    The text is normalized to NFC. White space becomes `-`. Path separators, characters that Windows forbids, and
    control, format and undecodable characters become `_`. Dots, dashes and spaces at the ends are removed.
    """
    dashed = re.sub(r"\s+", "-", unicodedata.normalize("NFC", text).strip())
    safe = "".join("_" if _is_forbidden(character) else character for character in dashed)
    return re.sub(r"^[-. ~]+|[-. ]+$", "", re.sub(r"-{2,}", "-", safe))


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN_CHARS or unicodedata.category(character) in _FORBIDDEN_CATEGORIES


def encode_utf8(text: str) -> bytes:
    """Return the bytes of a file name; surrogates stand for undecodable bytes."""
    return text.encode("utf-8", "surrogateescape")


def truncate_utf8(text: str, max_bytes: int) -> str:
    """Return at most `max_bytes` bytes of UTF-8 without splitting a character."""
    data = encode_utf8(text)
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore").rstrip("-. ")
