"""Parse the values of `--embedding`, `FILE[:TOKEN]`, and find the tokens of embeddings in prompts."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError

MAX_TOKEN_CHARS = 200
_FILE_PATTERN = re.compile(r"\.(?:safetensors|sft|pt|bin|pth|ckpt|pkl|pickle)(?=:|$)", re.IGNORECASE)
PLACEHOLDER_PATTERN = re.compile(r"<artgen-[0-9a-f]{16}-([1-9][0-9]?)>")
"""Text that takes the place of an embedding's token for the text encoders, with the number of its vectors."""
_EXAMPLE = "--embedding my-style.safetensors:my-style"


class EmbeddingSpec(NamedTuple):
    """Represent an embedding (textual inversion) by name or path, and the word of the prompts that it replaces.

    Attributes:
        name: name or path.
        token: word of the prompts; empty: the name of the file.
    """

    name: str
    token: str = ""

    def __str__(self) -> str:
        """Return `name:token`, from which `parse_embedding` reads the same embedding."""
        return f"{self.name}:{self.token}" if self.token else self.name

    @property
    def file_name(self) -> str:
        """Return the last part of a POSIX or Windows path."""
        return PureWindowsPath(self.name).name


def parse_embedding(text: str) -> EmbeddingSpec:
    """Parse a text such as `style.safetensors:<style>`. Paths may contain colons (`C:\\...`).

    Raises:
        UsageError: the name is missing, or the token is not a word or several words.
    """
    if match := _FILE_PATTERN.search(text):
        name, token = text[: match.end()], text[match.end() + 1 :] if match.end() < len(text) else None
    else:
        name, colon, tail = text.rpartition(":")
        is_token = colon and not re.search(r"[\\/]", tail) and name.lower() != "civitai"
        name, token = (name, tail) if is_token else (text, None)
    if not name.strip():
        raise UsageError(f"embedding must be FILE[:TOKEN], not {text!r}.", _EXAMPLE)
    if token is not None and not (token.strip() and token.isprintable() and len(token) <= MAX_TOKEN_CHARS):
        raise UsageError(
            f"The token of an embedding must be a word of the prompt, not {token[:MAX_TOKEN_CHARS]!r}.", _EXAMPLE
        )
    return EmbeddingSpec(name, (token or "").strip())


def normalize_embedding_list(value: object) -> object:
    """Convert a value of `embedding` to a tuple of texts. Empty texts are removed.

    Raises:
        UsageError: a text is not `FILE[:TOKEN]`.
    """
    if not isinstance(value, str | Path | list | tuple):
        return value  # `validate` raises the error.
    given: Iterable[object] = [value] if isinstance(value, str | Path) else value
    texts = tuple(str(item) if isinstance(item, Path) else item for item in given if item != "")
    for text in texts:
        if isinstance(text, str):
            parse_embedding(text)
    return texts


def placeholder(sha256: str, vectors: int) -> str:
    """Return the text that takes the place of the token of an embedding. No other embedding has the same text.

    Args:
        sha256: SHA-256 of the file.
        vectors: number of its vectors, 1 to 99.
    """
    return f"<artgen-{sha256[:16]}-{vectors}>"


def vector_names(text: str) -> tuple[str, ...]:
    """Return the name of the token of each vector of a placeholder, as diffusers names them."""
    match = PLACEHOLDER_PATTERN.fullmatch(text)
    return (text, *(f"{text}_{number}" for number in range(1, int(match[1]) if match else 1)))


def token_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds tokens as whole words, without case. The longest token has precedence.

    A bracket or backslash in a token can be escaped in the prompt, as in `bad\\(1\\)`.
    """
    alternatives = []
    for token in sorted(set(tokens), key=lambda text: (-len(text), text)):
        text = "".join(rf"\\?{re.escape(char)}" if char in "()[]\\" else re.escape(char) for char in token)
        before, after = (r"(?<!\w)" if token[0].isalnum() else ""), (r"(?!\w)" if token[-1].isalnum() else "")
        alternatives.append(f"{before}{text}{after}")
    return re.compile("|".join(alternatives) or r"(?!)", re.IGNORECASE)


def unescape_brackets(text: str) -> str:
    """Return a text without the backslashes before its brackets and backslashes."""
    return re.sub(r"\\([()\[\]\\])", r"\1", text)


def replace_tokens(text: str, tokens: Iterable[str], replacement: Callable[[str], str]) -> str:
    """Return a prompt in which `replacement(token)` takes the place of each token."""
    by_name = {token.casefold(): token for token in tokens}

    def replace(match: re.Match[str]) -> str:
        found = match[0].casefold()
        return replacement(by_name.get(found) or by_name[unescape_brackets(found)])

    return token_pattern(by_name.values()).sub(replace, text)
