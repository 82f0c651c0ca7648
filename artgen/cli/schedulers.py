"""`artgen schedulers`."""

from typing import Annotated

import typer

from artgen.cli.reporting import emit, emit_json
from artgen.schedulers import SCHEDULERS


def schedulers(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False) -> None:
    """List the schedulers, with the other names they answer to.

    Case, spaces and punctuation do not matter; `karras`, `exponential` or `beta` may follow the name where the list
    says sigmas.
    """
    for entry in SCHEDULERS:
        if as_json:
            emit_json(
                {
                    "name": entry.name,
                    "label": entry.label,
                    "class": entry.class_name,
                    "aliases": list(entry.aliases),
                    "sigmas": entry.sigmas,
                    "flow": entry.flow,
                    "requires": list(entry.requires),
                    "note": entry.note,
                }
            )
            continue
        marks = [*(["sigmas"] if entry.sigmas else []), *(f"needs {name}" for name in entry.requires)]
        listed = f"  [{', '.join(marks)}]" if marks else ""
        emit(f"{entry.name:<12} {entry.label:<14} {entry.note}{listed}")
