"""Read the metadata of images and of weight files."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api.inputs import input_file
from artgen.errors import InputFileError, UsageError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES
from artgen.spec.python_text import for_python
from artgen.system.input_files import read_input

if TYPE_CHECKING:
    import os

    from artgen.api.verify import VerifiedFile
    from artgen.engine.results import GeneratedImage

WEIGHT_FILE_SUFFIXES = PICKLE_SUFFIXES | {".safetensors", ".gguf"}
"""Suffixes of weight files. Only headers are read; pickles are rejected without reading them."""

MAX_PIPE_BYTES = 1 << 27
"""Limit of an image whose C2PA manifest is verified."""

DESCRIPTION_FIELDS = {
    "base_model": "base_model",
    "license": "license",
    "trigger_words": "trigger_words",
    "source": "origin",
}
"""Fields of the description beside a file of `artgen models pull`, and their names in the metadata."""


@dataclass(frozen=True)
class FileInfo:
    """Describe the metadata of a file. All values of a file are untrusted.

    Attributes:
        source: `artgen` (record in the file), `sidecar` (JSON file beside the image), `header` (weight file), `c2pa`
            (only a C2PA manifest), or the identifier of another tool.
        values: all values, as `artgen info --json` prints them.
        notes: ignored data with the reason, one sentence each.
        record: record of artgen; None for files of other tools and for weight files.
        credentials: verification of the C2PA manifest of an image; None without a manifest or the package c2pa-python.
    """

    source: str
    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None
    credentials: "VerifiedFile | None" = None


def info(file: "str | os.PathLike[str] | bytes | GeneratedImage") -> FileInfo:
    """Return the metadata of an image, a sidecar file, a text file of another tool, or a weight file.

    Args:
        file: path, bytes of a file, or result.

    Raises:
        InputFileError: the file cannot be read, or contains no generation metadata.
        RefusedError: the file is a pickle.
    """
    with for_python():
        return read_info(input_file(file, "file"))


def read_info(path: Path) -> FileInfo:
    """Return the metadata of a file. See `info`."""
    return _read_weight_file(path) if path.suffix.lower() in WEIGHT_FILE_SUFFIXES else _read_image(path)


def _read_image(path: Path) -> FileInfo:
    from artgen import metadata

    credentials, more_notes = _read_credentials(path)
    try:
        found = metadata.read_metadata(path)
    except InputFileError:
        if credentials is None:
            raise
        return FileInfo("c2pa", {}, credentials=credentials)
    external = None if found.record else found.external
    notes = (*found.notes, *(external.notes if external else ()), *more_notes)
    return FileInfo(found.source, found.values, notes, found.record or None, credentials)


def _read_credentials(path: Path) -> "tuple[VerifiedFile | None, tuple[str, ...]]":
    """Verify the C2PA manifest of an image, if it has one. Return the result, and a note if it cannot be verified."""
    from artgen.metadata.content_credentials.manifest_store import find_manifest_store

    try:
        data = read_input(path, MAX_PIPE_BYTES)
        if find_manifest_store(data) is None:
            return None, ()
        from artgen.api.verify import FileVerifier

        return FileVerifier().verify(path), ()
    except InputFileError:  # `read_metadata` reports an unreadable file
        return None, ()
    except UsageError as error:
        return None, (f"The C2PA manifest is not verified: {error.message} {error.hint}".strip(),)


def _read_weight_file(path: Path) -> FileInfo:
    from artgen.registry import lora as lora_files
    from artgen.registry.checkpoint_content import inspect_file
    from artgen.registry.embeddings import describe_embedding
    from artgen.registry.part_info import describe_part
    from artgen.registry.upscalers.layers import read_layers
    from artgen.registry.web import read_description

    checkpoint = inspect_file(path)
    values = dataclasses.asdict(checkpoint)
    if checkpoint.kind == "lora":
        values = lora_files.describe_lora(path)
    elif checkpoint.kind == "embedding":
        with contextlib.suppress(InputFileError):  # an embedding that artgen does not support
            values = describe_embedding(path)
    elif checkpoint.kind == "upscaler":
        with contextlib.suppress(InputFileError):  # a network that artgen does not support
            layers = read_layers(path)
            values |= {"architecture": layers.class_name, "scale": layers.scale}
    else:
        values |= describe_part(path, checkpoint.kind)
    description = read_description(path)
    return FileInfo(
        "header", values | {name: description[name] for name in DESCRIPTION_FIELDS if description.get(name)}
    )
