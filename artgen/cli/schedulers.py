"""Define the command `artgen schedulers`."""

from typing import Annotated

import typer

from artgen.cli.console import print_json, print_result
from artgen.spec.schedulers import SCHEDULERS


def schedulers(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the schedulers and their aliases.

    Names ignore case, spaces and punctuation. If a scheduler is marked with `sigmas`, its name can be followed by
    `karras`, `exponential` or `beta`.

    artgen schedulers
    """
    for entry in SCHEDULERS:
        if as_json:
            print_json(
                {
                    "name": entry.name,
                    "label": entry.a1111_name,
                    "class": entry.class_name,
                    "aliases": list(entry.aliases),
                    "sigmas": entry.supports_sigmas,
                    "flow": entry.is_flow_matching,
                    "requires": list(entry.required_packages),
                    "note": entry.note,
                }
            )
            continue
        labels = [
            *(["sigmas"] if entry.supports_sigmas else []),
            *(f"needs {name}" for name in entry.required_packages),
        ]
        suffix = f"  [{', '.join(labels)}]" if labels else ""
        print_result(f"{entry.name:<12} {entry.a1111_name:<14} {entry.note}{suffix}")
