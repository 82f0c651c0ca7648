"""Print the invalid entries of a batch, and summarize its jobs before they run."""

from pathlib import Path

import typer

from artgen.cli.console import print_error, print_note
from artgen.cli.load_times import LoadTimes
from artgen.cli.run_requests import MAX_LISTED_ERRORS
from artgen.errors import ArtgenError, UsageError
from artgen.queue.job_queue import RunState
from artgen.queue.plan import BatchPlan
from artgen.queue.timings import Timings
from artgen.system.counts import counted, format_duration


def report_line_errors(plan: BatchPlan, *, keep_going: bool) -> None:
    """Print the errors of invalid entries, and exit if `keep_going` is not set.

    Args:
        plan: jobs and invalid entries.
        keep_going: generate the other images.

    Raises:
        typer.Exit: `keep_going` is not set.
    """
    for line in plan.line_errors[:MAX_LISTED_ERRORS]:
        print_error(ArtgenError(f"{line.location}: {line.error.message}", line.error.hint))
    if len(plan.line_errors) > MAX_LISTED_ERRORS:
        print_note(
            f"{counted(len(plan.line_errors) - MAX_LISTED_ERRORS, 'more error is', 'more errors are')} not listed."
        )
    if not keep_going:
        codes = {line.error.exit_code for line in plan.line_errors}
        total = len(plan.line_errors) + len(plan.jobs)
        if total > 1:
            print_note(f"{len(plan.line_errors):,} of {counted(total, 'job')} cannot run. No image was generated.")
        if plan.jobs:
            print_note("Fix them, or add --keep-going to generate the others.")
        raise typer.Exit(codes.pop() if len(codes) == 1 else UsageError.exit_code)


def batch_summary(state: RunState, folder: Path) -> str:
    """Return a sentence with the numbers of completed, failed and pending images, and the estimated time."""
    total = len(state.jobs)
    parts = [f"{counted(total, 'image')} in '{folder}'"]
    if state.num_completed:
        parts.append(f"{state.num_completed:,} done")
    if state.failed:
        parts.append(f"{len(state.failed):,} failed before (--retry-failed)")
    if state.num_completed or state.failed:
        parts.append(f"{len(state.pending):,} to generate")
    if state.pending and (seconds := Timings().estimate_seconds(state.pending)) is not None:
        seconds += LoadTimes(state.pending[0].request).remaining_seconds() or 0.0
        parts.append(f"about {format_duration(seconds)} on this machine")
    return f"{', '.join(parts)}."
