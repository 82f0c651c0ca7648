"""`artgen replay`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.options import flatten_settings
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.errors import UsageError
from artgen.spec.settings import FramesSettings, OutputSettings, ReportSettings


@flatten_settings
def replay(
    output: OutputSettings,
    frames: FramesSettings,
    report: ReportSettings,
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
    from artgen.cli.request_jobs import RequestJobs
    from artgen.jobs import replay as replay_jobs
    from artgen.jobs.batch_size import ExactBatchSize

    changes: dict[str, str] = {}
    for change in set_ or []:
        name, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set takes NAME=VALUE, not {change!r}.", "--set steps=50")
        changes[name.strip().replace("-", "_")] = value
    plan = replay_jobs.read_replay_spec(file, changes)
    if not report.quiet:
        for text in plan.notes:
            print_note(text)
    facts: dict[str, Any] = {"offline": True} if offline else {}
    request = plan.request.replace(**facts)
    jobs = RequestJobs(
        [request],
        OutputOptions(output, frames, report),
        batch_size=ExactBatchSize(plan.batch_size),
        check_job=plan.check_job,
    )
    run_requests(jobs, report)
