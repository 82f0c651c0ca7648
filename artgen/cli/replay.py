"""`artgen replay`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.drawing import Delivery, draw_requests
from artgen.cli.options import flattened
from artgen.cli.reporting import note
from artgen.errors import UsageError
from artgen.settings import Frames, Output, Report


@flattened
def replay(
    output: Output,
    frames: Frames,
    report: Report,
    file: Annotated[Path, typer.Argument(help="A picture, its sidecar, or A1111 text.", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: steps=50. May be repeated.", metavar="NAME=VALUE"),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Make a picture again from itself; the same pixels when nothing is changed.

    artgen replay fox.png --set steps=50
    """
    from artgen import replaying
    from artgen.engine.sizes import Exactly

    changes: dict[str, str] = {}
    for change in set_ or []:
        name, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set takes NAME=VALUE, not {change!r}.", "--set steps=50")
        changes[name.strip().replace("-", "_")] = value
    plan = replaying.plan(file, changes)
    if not report.quiet:
        for text in plan.notes:
            note(text)
    facts: dict[str, Any] = {"offline": True} if offline else {}
    request = plan.request.replace(**facts)
    draw_requests([request], Delivery(output, frames, report), batch_size=Exactly(plan.rows), check=plan.check)
