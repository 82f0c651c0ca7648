"""Check names that become part of a path in the cache or of an address of the hub."""

import re

from artgen.errors import UsageError

COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")
SHA1_PATTERN = COMMIT_PATTERN
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
REMOTE_FILE_PATTERN = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\:\x00-\x1f\x7f]+(?:/(?!\Z)|\Z))+")
HUB_ID_PATTERN = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9._-]{1,96}")

_MAX_COMPONENT_BYTES = 250
_MAX_PATH_BYTES = 1024
_REVISION_PATTERN = re.compile(r"(?!.*(?:\.\.|//|/\.|@\{))(?![./])[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])(?<!\.lock)")


def check_remote_field(value: object, pattern: re.Pattern[str]) -> str:
    """Return a field of the hub's answer that becomes part of a path.

    Args:
        value: the field.
        pattern: pattern of this module for the complete field.

    Raises:
        ValueError: the field is not a string, does not match the pattern, or is too long for a path.
    """
    if not isinstance(value, str) or not pattern.fullmatch(value) or not _fits_path(value):
        raise ValueError(f"{value!r:.60} is not valid")
    return value


def is_revision(text: str) -> bool:
    """Return whether a text can be a branch, a tag or a commit (the rules of `git check-ref-format`)."""
    return bool(_REVISION_PATTERN.fullmatch(text)) and _fits_path(text)


def check_revision(revision: str | None) -> str | None:
    """Return a revision that a person typed. None is the main branch.

    Raises:
        UsageError: the text cannot be a branch, a tag or a commit.
    """
    if revision is not None and not is_revision(revision):
        raise UsageError(f"{revision[:80]!r} cannot be a revision.", "Give a branch, a tag or a commit hash.")
    return revision


def _fits_path(text: str) -> bool:
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return len(encoded) <= _MAX_PATH_BYTES and all(len(part) <= _MAX_COMPONENT_BYTES for part in encoded.split(b"/"))
