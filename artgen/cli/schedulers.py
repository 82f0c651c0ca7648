"""Define the command `artgen schedulers`."""

from typing import Annotated

import typer

from artgen.api.schedulers import SchedulerInfo, list_schedulers
from artgen.cli.console import print_result
from artgen.cli.json_output import JsonOutput

OUTPUT = JsonOutput(lambda: SchedulerInfo)


@OUTPUT
def schedulers(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the schedulers and their aliases.

    Names ignore case, spaces and punctuation. If a scheduler is marked with `sigmas`, its name can be followed by
    `karras`, `exponential` or `beta`.

    artgen schedulers
    artgen schedulers --json
    """
    for entry in list_schedulers():
        if as_json:
            OUTPUT.print(entry)
            continue
        labels = [*(["sigmas"] if entry.sigmas else []), *(f"needs {name}" for name in entry.requires)]
        suffix = f"  [{', '.join(labels)}]" if labels else ""
        print_result(f"{entry.name:<12} {entry.label:<14} {entry.note}{suffix}", hanging_indent=28)
