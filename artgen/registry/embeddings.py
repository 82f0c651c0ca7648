"""Find embeddings (textual inversions), read their headers, and check that a model supports them. Torch-free."""

import difflib
import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, UsageError
from artgen.registry import diffusers_folder, location_index, model_folders
from artgen.registry.checkpoint_content import read_content
from artgen.registry.hashes import file_hash
from artgen.registry.pipelines import PipelineEntry
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import (
    MAX_NAME_LENGTH,
    PICKLE_SUFFIXES,
    are_finite,
    read_header,
    reject_pickle,
    reject_pickled_content,
)
from artgen.spec import config
from artgen.spec.embedding import EmbeddingSpec, placeholder, replace_tokens
from artgen.system.files import FileIdentity, file_identity

EMBEDDING_SUFFIX = ".safetensors"
MAX_VECTORS = 75
"""Largest number of vectors: a chunk of CLIP has 75 tokens."""
MAX_WIDTH = 8192
"""Largest width of a vector that is read."""
PAIR_NAMES = {"text_encoder": ("clip_l", "text_encoders_0"), "text_encoder_2": ("clip_g", "text_encoders_1")}
"""Names of the tensors of an embedding for two text encoders."""
ENCODER_NAMES = {"text_encoder": "CLIP ViT-L", "text_encoder_2": "OpenCLIP ViT-bigG"}
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


def find_embedding(name: str) -> Path:
    """Find the file for `--embedding` or `embedding:NAME`: a path, or a name in the user's folders.

    Raises:
        RefusedError: the file is a pickle.
        ModelUnavailableError: the name is the address of a file that is not downloaded.
        InputFileError: the file does not exist, it is a folder, or several files have the name.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    for file in (path, Path(f"{path}{EMBEDDING_SUFFIX}")):
        # `read_embedding` refuses a pipe or a device. The methods of Path raise for long names.
        if os.path.exists(file) and not os.path.isdir(file):  # noqa: PTH110, PTH112
            return file
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        raise InputFileError(f"'{name}' is a folder, not an embedding.", "Pass a .safetensors file.")
    if ":" in name:
        from artgen.registry import web  # rarely necessary

        if local := web.local_path(name):
            return local
    if path.suffix.lower() in PICKLE_SUFFIXES:
        reject_pickle(path)
    return find_named(name)


def find_named(name: str) -> Path:
    """Find an embedding by its name in embedding_folder and model_folders only.

    Raises:
        RefusedError: only a pickle has the name.
        InputFileError: no file, or several files, have the name.
    """
    if found := model_folders.find("embedding", name):
        return found
    raise InputFileError(f"Cannot find the embedding {name!r}.", _similar_names_hint(name))


def _similar_names_hint(name: str) -> str:
    known = {Path(file.stem).name.casefold(): file.stem for file in model_folders.iter_files("embedding")}
    similar = difflib.get_close_matches(name.removesuffix(EMBEDDING_SUFFIX).casefold(), known, n=3)
    if similar:
        return f"Did you mean {' or '.join(known[key] for key in similar)}?"
    if hint := model_folders.other_kind_hint("embedding", name):
        return hint
    if Path(name).name != name:
        return "Give the path of a file outside your folders with --embedding PATH:TOKEN."
    if config.embedding_folder() is None and not config.model_folders():
        return "Give a path, or set the folder of your embeddings: artgen config set embedding_folder FOLDER"
    return "Give a path, or copy the file to a folder of embedding_folder or model_folders."


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


def supports_embeddings(entry: PipelineEntry) -> bool:
    """Return whether artgen supports embeddings with a pipeline: all its text encoders are CLIP."""
    return entry.supports("prompt-embeddings") and all(encoder.kind == "clip" for encoder in entry.encoders)


def check_compatible(file: EmbeddingFile, model: ResolvedModel) -> None:
    """Check that the text encoders of a model have the widths of an embedding.

    Raises:
        ModelUnavailableError: artgen does not support embeddings with the model, or the embedding is for another one.
    """
    if reason := mismatch_reason(file, model):
        raise ModelUnavailableError(
            f"Cannot use '{file.path.name}' with '{model.short_name}': {reason}.",
            "Choose an embedding and a --model of the same family.",
        )


def mismatch_reason(file: EmbeddingFile, model: ResolvedModel) -> str:
    """Return why a model cannot use an embedding; empty if it can."""
    entry = model.pipeline_entry
    if not supports_embeddings(entry):
        return f"artgen supports embeddings with Stable Diffusion 1, 2 and XL, and the model is {entry.title}"
    widths = {}
    for encoder in entry.encoders:
        text_config = diffusers_folder.read_optional_config(model.config_folder / encoder.component / "config.json")
        widths[encoder.component] = text_config.get("hidden_size")
    found = dict(zip(file.tensors, file.widths, strict=True))
    if "text_encoder" not in widths:  # the refiner of SDXL has only the second text encoder
        found = {name: width for name, width in found.items() if name in widths} or found
    if found == widths:
        return mismatch_reason(file, model.refiner) if model.refiner is not None else ""
    family = f", as in {file.family}" if file.family else ""
    return (
        f"its vectors have the width {_format_widths(found)}{family}, and the text encoders of the model have "
        f"{_format_widths(widths)}"
    )


def _format_widths(widths: Mapping[str, Any]) -> str:
    return " + ".join(map(str, widths.values()))


def find_recorded(name: str, digest: str, folders: Sequence[Path]) -> EmbeddingFile | None:
    """Find the embedding of an image record; return None unless a file has the recorded hash.

    Metadata is untrusted: only files with the last part of `name` are read, in `folders` and in the user's folders of
    embeddings, and then the files that had the hash when they were used on this machine.

    Args:
        name: recorded file name; the suffix is optional.
        digest: SHA-256 of the file, at least 10 hexadecimal digits.
        folders: additional folders.
    """
    stem = Path(name.replace("\\", "/")).name.removesuffix(EMBEDDING_SUFFIX)
    candidates = [folder / f"{stem}{EMBEDDING_SUFFIX}" for folder in folders] if stem else []
    candidates += [
        file.path
        for file in model_folders.iter_files("embedding")
        if not file.is_pickle and Path(file.stem).name.casefold() == stem.casefold()
    ]
    if not re.fullmatch(r"[0-9a-f]{10,64}", digest.lower()):
        return None
    for path in [*candidates, *location_index.locations(digest)]:
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for long names
            try:
                file = read_embedding(path)
            except ArtgenError:
                continue
            if file.sha256.startswith(digest.lower()):
                return file
    return None


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
