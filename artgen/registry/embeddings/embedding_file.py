"""Read the layout, the number and the width of the vectors of an embedding (textual inversion) from its header."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.checkpoint_content import read_content
from artgen.registry.hashes import file_hash
from artgen.registry.safetensors_header import (
    MAX_NAME_LENGTH,
    are_finite,
    read_header,
    reject_pickle,
    reject_pickled_content,
)
from artgen.system.files import FileIdentity, file_identity

MAX_VECTORS = 75
"""Largest number of vectors: a chunk of CLIP has 75 tokens."""
MAX_WIDTH = 8192
"""Largest width of a vector that is read."""
PAIR_NAMES = {"text_encoder": ("clip_l", "text_encoders_0"), "text_encoder_2": ("clip_g", "text_encoders_1")}
"""Names of the tensors of an embedding for two text encoders."""
FAMILIES = {(768,): "Stable Diffusion 1", (1024,): "Stable Diffusion 2", (768, 1280): "Stable Diffusion XL"}
"""Widths of the text encoders of a family."""
_T5_NAMES = frozenset({"t5xxl"})
_DTYPES = frozenset({"F32", "F16", "BF16", "F64"})


@dataclass(frozen=True, eq=False)
class EmbeddingFile:
    """Describe an embedding on the disk.

    Attributes:
        path: the file.
        identity: identity of the file that was hashed.
        tensors: name of the tensor for each text encoder, by diffusers' name.
        widths: width of the vectors for each text encoder, in the order of `tensors`.
        vectors: number of vectors; each takes the place of one token.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
    """

    path: Path
    identity: FileIdentity
    tensors: Mapping[str, str]
    widths: tuple[int, ...]
    vectors: int
    sha256: str

    @property
    def name(self) -> str:
        """Return the file's name without its suffix."""
        return self.path.stem

    @property
    def family(self) -> str:
        """Return the family that the widths fit; empty if they fit none."""
        return FAMILIES.get(self.widths, "")


def read_embedding(path: Path) -> EmbeddingFile:
    """Read the header of an embedding and hash the file; results are cached until the file changes.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is unreadable, damaged or not an embedding.
    """
    reject_pickle(path)
    reject_pickled_content(path)
    return _read_cached(path, file_identity(path))


@functools.lru_cache(maxsize=256)
def _read_cached(path: Path, identity: FileIdentity) -> EmbeddingFile:
    header = read_header(path)
    found: dict[str, str] = {}
    for encoder, names in PAIR_NAMES.items():
        if present := [name for name in names if name in header.tensors]:
            found[encoder] = present[0]
    others = header.tensors.keys() - found.values() - _T5_NAMES
    if not found and len(others) == 1:
        found = {"text_encoder": others.pop()}
    if not found or others:
        raise _not_an_embedding(path)
    shapes = [header.tensors[name][1] for name in found.values()]
    if any(len(shape) not in (1, 2) or 0 in shape for shape in shapes):
        raise _not_an_embedding(path)
    counts = {shape[0] if len(shape) == 2 else 1 for shape in shapes}
    if len(counts) > 1:
        raise InputFileError(
            f"'{path.name}' is damaged: it has different numbers of vectors for its text encoders: "
            f"{' and '.join(map(str, sorted(counts)))}.",
            "Download it again.",
        )
    if types := {header.tensors[name][0] for name in found.values()} - _DTYPES:
        raise InputFileError(
            f"Cannot use '{path.name}': its vectors have the type {types.pop()} instead of F32, F16 or BF16.",
            "Use another copy of the embedding.",
        )
    if max(shape[-1] for shape in shapes) > MAX_WIDTH:
        raise _not_an_embedding(path)
    vectors = counts.pop()
    if vectors > MAX_VECTORS:
        raise InputFileError(
            f"Cannot use '{path.name}': it has {vectors:,} vectors, and a text encoder reads at most {MAX_VECTORS} at "
            "a time.",
            "Use an embedding with fewer vectors.",
        )
    if not are_finite(path, found.values()):
        raise InputFileError(f"'{path.name}' is damaged: it contains values that are not finite.", "Download it again.")
    return EmbeddingFile(path, identity, found, tuple(shape[-1] for shape in shapes), vectors, file_hash(path))


def _not_an_embedding(path: Path) -> InputFileError:
    kind = read_content(path).file_kind
    found = "it contains unknown tensors" if kind is None or kind.kind == "embedding" else f"it is {kind.description}"
    hint = f"Pass it with --{kind.setting}." if kind and kind.setting in ("lora", "vae") else ""
    return InputFileError(
        f"'{path.name}' is not an embedding: {found}.",
        hint or "Use an embedding in the format of AUTOMATIC1111, ComfyUI or diffusers.",
    )


def describe_embedding(path: Path) -> dict[str, Any]:
    """Return the properties of an embedding as a flat JSON object.

    Raises:
        RefusedError, InputFileError: see `read_embedding`.
    """
    file, header = read_embedding(path), read_header(path)
    return {
        "kind": "embedding",
        "family": file.family or "unknown",
        "vectors": file.vectors,
        "widths": list(file.widths),
        "dtype": header.dtype,
        "size": header.file_size_bytes,
        "sha256": file.sha256,
        "metadata": {key[:MAX_NAME_LENGTH]: value for key, value in header.metadata.items()},
    }
