"""Define the option `--set`, which changes a recorded setting."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from artgen.errors import UsageError
from artgen.spec.settings import FilterSettings

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, such as steps=50. Can be repeated.", metavar="NAME=VALUE"),
]


def parse_changes(assignments: Sequence[str] | None) -> dict[str, str]:
    """Return the changes of `--set`: setting name -> value as typed.

    Raises:
        UsageError: a change is not NAME=VALUE.
    """
    changes: dict[str, str] = {}
    for change in assignments or []:
        name, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"Invalid --set '{change}': the format is NAME=VALUE.", "--set steps=50")
        changes[name.strip().replace("-", "_")] = value
    return changes


def unrecorded_settings(filtering: FilterSettings, *, offline: bool) -> dict[str, Any]:
    """Return the typed settings of a command that generates images from records, which records do not contain."""
    return {name: value for name, value in {"filter": filtering.filter, "offline": offline}.items() if value}
