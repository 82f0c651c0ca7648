"""`artgen info`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.reporting import complain, emit, emit_json, note
from artgen.errors import ArtgenError


def info(
    files: Annotated[list[Path], typer.Argument(help="Pictures, sidecars or A1111 text files.", metavar="FILE...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> None:
    """Tell what made a picture: artgen's record, A1111's text, or a ComfyUI workflow."""
    from artgen import metadata

    failures: list[ArtgenError] = []
    for file in files:
        try:
            found = metadata.read(file)
        except ArtgenError as error:
            complain(error)
            failures.append(error)
            continue
        values: dict[str, Any] = found.record or found.parameters or found.comfy or {}
        if as_json:
            emit_json({"file": str(file), "source": found.source, **values})
            continue
        note(f"{file}: {found.source}" if values else f"{file}: nothing is recorded in it")
        for name, value in values.items():
            emit(f"{name}: {value}")
    if failures:
        raise typer.Exit(failures[0].exit_code)
