"""Define the command `artgen schedulers`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from artgen.cli.console import print_result
from artgen.cli.json_output import JsonOutput
from artgen.spec.schedulers import SCHEDULERS


@dataclass(frozen=True)
class SchedulerRow:
    """Describe a scheduler for `--json`.

    Attributes:
        name: name in artgen and in records.
        label: display name in AUTOMATIC1111.
        class_: name of the diffusers class.
        aliases: other accepted names.
        sigmas: whether `karras`, `exponential` or `beta` can follow the name.
        flow: whether the scheduler supports only flow-matching models.
        requires: packages that the scheduler needs and that artgen does not install by default.
        note: description.
    """

    name: str
    label: str
    class_: str
    aliases: tuple[str, ...]
    sigmas: bool
    flow: bool
    requires: tuple[str, ...]
    note: str


OUTPUT = JsonOutput(lambda: SchedulerRow)


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
    for entry in SCHEDULERS:
        if as_json:
            OUTPUT.print(
                SchedulerRow(
                    name=entry.name,
                    label=entry.a1111_name,
                    class_=entry.class_name,
                    aliases=entry.aliases,
                    sigmas=entry.supports_sigmas,
                    flow=entry.is_flow_matching,
                    requires=entry.required_packages,
                    note=entry.note,
                )
            )
            continue
        labels = [
            *(["sigmas"] if entry.supports_sigmas else []),
            *(f"needs {name}" for name in entry.required_packages),
        ]
        suffix = f"  [{', '.join(labels)}]" if labels else ""
        print_result(f"{entry.name:<12} {entry.a1111_name:<14} {entry.note}{suffix}")
