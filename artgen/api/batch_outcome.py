"""Describe the result of one job of a batch, and the functions that receive results and errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from artgen.errors import ArtgenError
from artgen.queue.ledger_lines import JobRecord
from artgen.queue.plan import BatchPlan, PlannedJob


@dataclass(frozen=True)
class BatchOutcome:
    """Store the result of one job of a batch.

    Attributes:
        location: line of a prompt file such as `prompts.txt:12`, or the name of an image; empty without both.
        job: the job; None for an invalid line.
        path: the image file; None if the image could not be generated.
        frames: the file or folder of the intermediate steps; None if there are none.
        record: the record of the image; empty if the image is of an earlier run.
        seconds: duration of the job.
        error: the reason of a failure; None for an image.
        is_reported: the first attempt of the same command has printed the result; see `artgen.system.attempt`.
    """

    location: str
    job: PlannedJob | None
    path: Path | None = None
    frames: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: ArtgenError | None = None
    is_reported: bool = False


OnOutcome = Callable[[BatchOutcome], None]


class OnInvalidEntries(Protocol):
    """Report the errors of invalid entries; raise an exception if the batch must not run."""

    def __call__(self, plan: BatchPlan, *, keep_going: bool) -> None:
        """Report `plan.line_errors`."""


def failed_outcome(job: PlannedJob, record: JobRecord, message: str) -> BatchOutcome:
    """Return the outcome of a job that failed. The first line of the message is the error, the rest is the hint."""
    first_line, _, hint = message.partition("\n")
    error = ArtgenError(first_line, hint)
    error.exit_code = record.exit_code
    return BatchOutcome(job.location, job, error=error)
