"""Find embeddings (textual inversions), read their headers, and check that a model supports them. Torch-free.

`resolve_embeddings` finds and reads the embeddings of a request. `check_compatible` compares them with the model.
`find_recorded` finds the embedding of an image record by its hash.
"""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.embeddings.compatibility import check_compatible, mismatch_reason
    from artgen.registry.embeddings.embedding_file import EmbeddingFile, describe_embedding, read_embedding
    from artgen.registry.embeddings.find import find_embedding, find_named, find_recorded
    from artgen.registry.embeddings.requested import (
        EmbeddingRequest,
        embedding_provenance,
        resolve_embeddings,
        with_placeholders,
        without_placeholders,
    )


__all__ = [
    "EmbeddingFile",
    "EmbeddingRequest",
    "check_compatible",
    "describe_embedding",
    "embedding_provenance",
    "find_embedding",
    "find_named",
    "find_recorded",
    "mismatch_reason",
    "read_embedding",
    "resolve_embeddings",
    "with_placeholders",
    "without_placeholders",
]

_MODULES = {
    "compatibility": ("check_compatible", "mismatch_reason"),
    "embedding_file": ("EmbeddingFile", "describe_embedding", "read_embedding"),
    "find": ("find_embedding", "find_named", "find_recorded"),
    "requested": (
        "EmbeddingRequest",
        "embedding_provenance",
        "resolve_embeddings",
        "with_placeholders",
        "without_placeholders",
    ),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
