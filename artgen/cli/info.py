"""`artgen info`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.checkpoints import PICKLE_SUFFIXES
from artgen.cli.reporting import complain, emit, emit_json, note
from artgen.errors import ArtgenError

WEIGHTS = PICKLE_SUFFIXES | {".safetensors"}
"""Files whose headers are read; pickles are refused unread."""

SHOWN = 300
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
            source, values = _weights(file) if file.suffix.lower() in WEIGHTS else _picture(file)
        except ArtgenError as error:
            complain(error)
            failures.append(error)
            continue
        if as_json:
            emit_json({"file": str(file), "source": source, **values})
            continue
        note(f"{file}: {source}" if values else f"{file}: nothing is recorded in it")
        for name, value in values.items():
            for line in _lines(name, value):
                emit(line)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _picture(file: Path) -> tuple[str, dict[str, Any]]:
    from artgen import metadata

    found = metadata.read(file)
    return found.source, found.record or found.parameters or found.comfy or {}


def _weights(file: Path) -> tuple[str, dict[str, Any]]:
    from artgen import adapters
    from artgen.checkpoints import inspect_file

    checkpoint = inspect_file(file)
    if checkpoint.kind == "lora":
        return "header", adapters.describe(file)
    return "header", dataclasses.asdict(checkpoint)


def _lines(name: str, value: Any) -> Iterator[str]:
    """A value as one line, or the entries of one that has names; long ones are cut, as `--json` does not."""
    if isinstance(value, dict):
        for key, item in value.items():
            text = str(item)
            yield f"{name}.{key}: {text if len(text) <= SHOWN else f'{text[:SHOWN]}... ({len(text):,} characters)'}"
    elif isinstance(value, list | tuple):
        yield f"{name}: {', '.join(map(str, value))}"
    else:
        yield f"{name}: {value}"
