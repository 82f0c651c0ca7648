"""Resolve the embeddings of a request to files and tokens, and return their record entries."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.registry.embeddings.embedding_file import EmbeddingFile, read_embedding
from artgen.registry.embeddings.find import find_embedding
from artgen.spec.embedding import EmbeddingSpec, placeholder, replace_tokens


@dataclass(frozen=True)
class EmbeddingRequest:
    """Store an embedding and the word of the prompts that it replaces.

    Attributes:
        file: the embedding.
        token: word of the prompts.
    """

    file: EmbeddingFile
    token: str

    def __str__(self) -> str:
        """Return the value for `--embedding`."""
        return str(EmbeddingSpec(str(self.file.path), self.token))

    @property
    def placeholder(self) -> str:
        """Return the text that takes the place of the token for the text encoders."""
        return placeholder(self.file.sha256, self.file.vectors)


def resolve_embeddings(specs: Sequence[EmbeddingSpec]) -> tuple[EmbeddingRequest, ...]:
    """Find and read the embeddings of a request.

    Raises:
        UsageError: two embeddings have the same token.
        RefusedError: a file is a pickle.
        InputFileError: a file does not exist, or is not an embedding.
    """
    found: dict[str, EmbeddingRequest] = {}
    for spec in specs:
        file = read_embedding(find_embedding(spec.name))
        token = spec.token or file.name
        if (other := found.get(token.casefold())) and other.file.sha256 != file.sha256:
            raise UsageError(
                f"The embeddings '{other.file.path.name}' and '{file.path.name}' have the same token {token!r}.",
                f"Choose another token: --embedding {spec.name}:{token}-2",
                settings=("embedding",),
            )
        found[token.casefold()] = EmbeddingRequest(file, token)
    return tuple(found.values())


def with_placeholders(texts: Sequence[str], specs: Sequence[EmbeddingSpec]) -> tuple[str, ...]:
    """Return prompts in which placeholders take the place of the tokens of embeddings, for the text encoders.

    Raises:
        RefusedError, InputFileError: see `resolve_embeddings`.
    """
    if not specs:
        return tuple(texts)
    placeholders = {each.token: each.placeholder for each in resolve_embeddings(specs)}
    return tuple(replace_tokens(text, placeholders, placeholders.__getitem__) for text in texts)


def without_placeholders(text: str, specs: Sequence[EmbeddingSpec]) -> str:
    """Return a part of a prompt in which tokens take the place of the names of their vectors, for messages."""
    for each in resolve_embeddings(specs):
        name = re.escape(each.placeholder)
        text = re.sub(rf"{name}(?:_\d+)?(?:\s+{name}_\d+)*", functools.partial(_token_of, each.token), text)
    return text


def _token_of(token: str, _: re.Match[str]) -> str:
    return token


def embedding_provenance(embeddings: Sequence[EmbeddingRequest]) -> dict[str, Any]:
    """Return the record's entries about embeddings, without names and tokens."""
    return {"embedding_sha256": [each.file.sha256 for each in embeddings]}
