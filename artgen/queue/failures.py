"""Find the entries of a batch that have no image, and record them in the ledger."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from artgen.errors import OutputError
from artgen.queue.entries import LineError
from artgen.queue.ledger import Ledger, failure_record, now
from artgen.queue.ledger_lines import DONE, DROPPED, FAILED, MISSING, JobRecord
from artgen.queue.plan import BatchPlan, PlannedJob


def changed_failures(plan: BatchPlan, ledger: Ledger) -> dict[str, JobRecord]:
    """Return the records of failures that the ledger lacks or that the plan no longer contains.

    An invalid entry is a failed job. A failed job of a line that was changed or removed gets the state `dropped`.
    """
    invalid = {_line_error_key(line): failure_record(line.location, line.error) for line in plan.line_errors}
    current = invalid.keys() | {job.fingerprint for job in plan.jobs}
    sources = {job.source for job in plan.jobs} | {line.source for line in plan.line_errors}
    dropped = {
        key: replace(record, state=DROPPED, time=now())
        for key, record in ledger.records.items()
        if record.state in (FAILED, MISSING)
        and key not in current
        and not sources.isdisjoint((record.where, record.where.rpartition(":")[0]))
    }
    return dropped | {key: record for key, record in invalid.items() if ledger.failed(key) is None}


def missing_images(jobs: Sequence[PlannedJob], ledger: Ledger) -> list[tuple[PlannedJob, JobRecord]]:
    """Return the jobs whose image was removed after it was generated, and write their records to the ledger.

    Raises:
        OutputError: the ledger cannot be written.
    """
    completed = ledger.completed_keys()
    missing: dict[str, tuple[PlannedJob, JobRecord]] = {}
    for job in jobs:
        record = ledger.records.get(job.fingerprint)
        if record is not None and record.state == DONE and job.fingerprint not in completed:
            error = OutputError(f"The image '{ledger.folder / record.file}' was removed after it was generated.")
            missing[job.fingerprint] = (
                job,
                replace(
                    record,
                    state=MISSING,
                    error=error.message,
                    exit_code=error.exit_code,
                    where=job.location,
                    time=now(),
                ),
            )
    ledger.write_all({key: record for key, (_, record) in missing.items()})
    return list(missing.values())


def _line_error_key(line: LineError) -> str:
    """Return the key of an invalid entry in the ledger. A corrected entry has another key."""
    text = f"{line.source}\0{line.line}\0{line.error.message}"
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
