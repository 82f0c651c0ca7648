"""`artgen info`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import print_error, print_json, print_note, print_result
from artgen.errors import ArtgenError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES

WEIGHT_FILE_SUFFIXES = PICKLE_SUFFIXES | {".safetensors"}
"""Files whose headers are read; pickles are refused unread."""

MAX_VALUE_CHARS = 300
"""Characters of a file's own words that are printed of each entry."""


def info(
    files: Annotated[
        list[Path],
        typer.Argument(help="Pictures, sidecars, A1111 text files, or .safetensors files.", metavar="FILE..."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> None:
    """Tell what made a picture (artgen's record, A1111's text, a ComfyUI workflow), and what a LoRA is."""
    failures: list[ArtgenError] = []
    for file in files:
        try:
            source, values = (
                _weight_file_metadata(file) if file.suffix.lower() in WEIGHT_FILE_SUFFIXES else _image_metadata(file)
            )
        except ArtgenError as error:
            print_error(error)
            failures.append(error)
            continue
        if as_json:
            print_json({"file": str(file), "source": source, **values})
            continue
        print_note(f"{file}: {source}" if values else f"{file}: nothing is recorded in it")
        for name, value in values.items():
            for line in _format_value(name, value):
                print_result(line)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _image_metadata(file: Path) -> tuple[str, dict[str, Any]]:
    from artgen import metadata

    found = metadata.read_metadata(file)
    return found.source, found.record or found.parameters or found.comfy or {}


def _weight_file_metadata(file: Path) -> tuple[str, dict[str, Any]]:
    from artgen.registry import lora as lora_files
    from artgen.registry.safetensors_header import inspect_file

    checkpoint = inspect_file(file)
    if checkpoint.kind == "lora":
        return "header", lora_files.describe_lora(file)
    return "header", dataclasses.asdict(checkpoint)


def _format_value(name: str, value: Any) -> Iterator[str]:
    """A value as one line, or the entries of one that has names; long ones are cut, as `--json` does not."""
    if isinstance(value, dict):
        for key, item in value.items():
            text = str(item)
            yield f"{name}.{key}: {text if len(text) <= MAX_VALUE_CHARS else f'{text[:MAX_VALUE_CHARS]}... ({len(text):,} characters)'}"
    elif isinstance(value, list | tuple):
        yield f"{name}: {', '.join(map(str, value))}"
    else:
        yield f"{name}: {value}"
