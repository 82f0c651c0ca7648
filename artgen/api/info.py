"""Read the metadata of images and of weight files."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api.inputs import input_file
from artgen.errors import InputFileError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES
from artgen.spec.python_text import for_python

if TYPE_CHECKING:
    import os

    from artgen.engine.results import GeneratedImage

WEIGHT_FILE_SUFFIXES = PICKLE_SUFFIXES | {".safetensors", ".gguf"}
"""Suffixes of weight files. Only headers are read; pickles are rejected without reading them."""

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
        source: `artgen` (record in the file), `sidecar` (JSON file beside the image), `header` (weight file), or the
            identifier of another tool.
        values: all values, as `artgen info --json` prints them.
        notes: ignored data with the reason, one sentence each.
        record: record of artgen; None for files of other tools and for weight files.
    """

    source: str
    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None


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

    found = metadata.read_metadata(path)
    external = None if found.record else found.external
    return FileInfo(
        found.source, found.values, (*found.notes, *(external.notes if external else ())), found.record or None
    )


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
