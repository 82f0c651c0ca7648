"""Define the command `artgen info`."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import print_error, print_json, print_note, print_result
from artgen.errors import ArtgenError, InputFileError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES

WEIGHT_FILE_SUFFIXES = PICKLE_SUFFIXES | {".safetensors", ".gguf"}
"""Suffixes of weight files. Only headers are read; pickles are rejected without reading them."""

DESCRIPTION_FIELDS = ("base_model", "license", "trigger_words", "source")
"""Fields of the description beside a file of `artgen models pull` that are printed."""
MAX_VALUE_CHARS = 300
"""Maximum number of characters that are printed of each value."""


def info(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Images, sidecar files, text files of other tools, or .safetensors or .gguf files.", metavar="FILE..."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
) -> None:
    """Print the metadata of images, and of files of LoRAs and embeddings.

    The command reads the record of artgen, the metadata of A1111, ComfyUI and other tools, and headers of .safetensors
    and .gguf files.

    artgen info fox.png
    """
    failures: list[ArtgenError] = []
    for file in files:
        try:
            source, values, notes = (
                _weight_file_metadata(file) if file.suffix.lower() in WEIGHT_FILE_SUFFIXES else _image_metadata(file)
            )
        except ArtgenError as error:
            print_error(error)
            failures.append(error)
            continue
        if as_json:
            print_json({"file": str(file), "source": source, **values, **({"notes": list(notes)} if notes else {})})
            continue
        print_note(f"'{file}': metadata from {_source_name(source)}." if values else f"'{file}' contains no metadata.")
        for name, value in values.items():
            for line in _format_value(name, value):
                print_result(line)
        for note in notes:
            print_note(note)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _source_name(source: str) -> str:
    from artgen.metadata.external_record import TOOL_NAMES

    return TOOL_NAMES.get(source, source)


def _image_metadata(file: Path) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    from artgen import metadata

    image_metadata = metadata.read_metadata(file)
    external = None if image_metadata.record else image_metadata.external
    return image_metadata.source, image_metadata.values, (*image_metadata.notes, *(external.notes if external else ()))


def _weight_file_metadata(file: Path) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    from artgen.registry import lora as lora_files
    from artgen.registry.checkpoint_content import inspect_file
    from artgen.registry.embeddings import describe_embedding
    from artgen.registry.web import read_description

    checkpoint = inspect_file(file)
    values = dataclasses.asdict(checkpoint)
    if checkpoint.kind == "lora":
        values = lora_files.describe_lora(file)
    elif checkpoint.kind == "embedding":
        with contextlib.suppress(InputFileError):  # an embedding that artgen does not support
            values = describe_embedding(file)
    description = read_description(file)
    return "header", values | {name: description[name] for name in DESCRIPTION_FIELDS if description.get(name)}, ()


def _format_value(name: str, value: Any) -> Iterator[str]:
    """Return a value as lines: one line per key of a dictionary. Long values are truncated; `--json` is complete."""
    if isinstance(value, dict):
        for key, item in value.items():
            text = str(item)
            if len(text) > MAX_VALUE_CHARS:
                text = f"{text[:MAX_VALUE_CHARS]}... ({len(text):,} characters)"
            yield f"{name}.{key}: {text}"
    elif isinstance(value, list | tuple):
        yield f"{name}: {', '.join(map(str, value))}"
    else:
        yield f"{name}: {value}"
