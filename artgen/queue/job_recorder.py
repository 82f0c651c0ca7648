"""Lock the jobs of a batch, save their images, and record the results in the ledger."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import ArtgenError, OutputError
from artgen.outputs.save_result import history_notes
from artgen.queue.ledger import JobResult, Ledger, failure_record, now
from artgen.queue.ledger_lines import DONE, JobRecord
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.system import attempt

if TYPE_CHECKING:
    from artgen.engine.results import GeneratedImage

MAX_SAVE_ATTEMPTS = 3
"""Number of times that an image is saved if its folder is removed at the same time."""


class JobRecorder:
    """Record the jobs of one process. The methods can be called from several threads, one job at a time."""

    def __init__(self, ledger: Ledger, locks: JobLocks, report_result: Callable[[JobResult], None]) -> None:
        """Create a recorder.

        Args:
            ledger: receives the records.
            locks: locks of this process.
            report_result: called at the end of each job, from the thread that ends it.
        """
        self._ledger = ledger
        self._locks = locks
        self._report_result = report_result

    def acquire_pending(self, jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
        """Lock jobs, and return those that no other process runs or has finished. Report the others."""
        locked = [job for job in jobs if self._locks.acquire(job.fingerprint)]
        self._ledger.refresh()  # another process can have finished a job just before the lock was acquired
        pending = [job for job in locked if not self._ledger.completed(job.fingerprint)]
        for job in jobs:
            if job not in pending:
                if job in locked:
                    self._locks.release(job.fingerprint)
                self._report_result(JobResult(job.fingerprint, self._ledger.completed(job.fingerprint)))
        return pending

    def save(self, job: PlannedJob, generated: "GeneratedImage", seconds: float) -> None:
        """Save an image, record its job as done, release the lock and report the result.

        Raises:
            OutputError: a file cannot be written.
        """
        try:
            for number in range(1, MAX_SAVE_ATTEMPTS + 1):
                try:
                    result = self._save_files(job, generated, seconds)
                    break
                except OutputError as error:
                    # Somebody removed the folder while the file was written.
                    if number == MAX_SAVE_ATTEMPTS or not isinstance(error.__cause__, FileNotFoundError):
                        raise
        finally:
            self._locks.release(job.fingerprint)
        self._report_result(result)

    def _save_files(self, job: PlannedJob, generated: "GeneratedImage", seconds: float) -> JobResult:
        attempt.report("saving", number=job.number)
        record = JobRecord(DONE)
        extra: dict[str, str] = {}

        def record_job(path: Path, data: bytes) -> None:
            nonlocal record
            animation = job.template.animation_output
            if animation is not None and not record.file:  # save the frames before the job is recorded as done
                extra["frames"] = str(
                    animation.save(
                        generated.frames,
                        generated.record,
                        path,
                        job.number,
                        signing=job.template.destination.encoding.signing,
                        request=generated.request,
                    )
                )
            file = path.relative_to(self._ledger.folder).as_posix()
            sha256 = hashlib.sha256(data).hexdigest()
            record = JobRecord(DONE, file, sha256, round(seconds, 3), job.location, time=now())
            attempt.report("saved", number=job.number, record={**generated.record, **extra})
            self._ledger.write(job.fingerprint, record)

        job.template.destination.save(
            generated.image,
            generated.record,
            index=job.number,
            on_name_chosen=record_job,
            low_bytes=generated.low_bytes,
            seconds=seconds,
            request=generated.request,
        )
        note = " ".join(history_notes())
        return JobResult(job.fingerprint, record, {**generated.record, **extra}, note=note)

    def record_failure(self, job: PlannedJob, error: ArtgenError) -> None:
        """Record a job as failed, release the lock and report the result."""
        record = failure_record(job.location, error)
        self._ledger.write(job.fingerprint, record)
        self._locks.release(job.fingerprint)
        self._report_result(JobResult(job.fingerprint, record, message=f"{error.message}\n{error.hint}".strip()))

    def release(self, job: PlannedJob) -> None:
        """Release the lock of a job that did not run. The job stays pending."""
        self._locks.release(job.fingerprint)
