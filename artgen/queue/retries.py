"""Retry jobs whose worker crashed. A job fails after `MAX_CRASHES` crashes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from artgen.errors import ArtgenError
from artgen.queue.job_queue import JobQueue, OnResult
from artgen.queue.ledger import JobResult, Ledger, failure_record
from artgen.queue.plan import PlannedJob

MAX_CRASHES = 3
"""Number of crashes after which a job fails."""


class CrashTracker:
    """Count the crashes of each job. Only crashes with a single job in the process are counted."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._crash_counts: Counter[str] = Counter()

    def requeue(self, jobs: Sequence[PlannedJob], cause: str, queue: JobQueue, on_result: OnResult) -> None:
        """Put the unfinished jobs of a crashed process back, to run alone. Record a failure after the last retry.

        Args:
            jobs: jobs that the process had not finished.
            cause: exit reason of the process.
            queue: receives the jobs.
            on_result: receives the result of a failed job.
        """
        retried = list(jobs)
        if len(retried) == 1:
            job = retried[0]
            self._crash_counts[job.fingerprint] += 1
            if self._crash_counts[job.fingerprint] >= MAX_CRASHES:
                on_result(job, self._record_failure(job, cause))
                retried = []
        queue.put_back(retried)

    def _record_failure(self, job: PlannedJob, cause: str) -> JobResult:
        error = ArtgenError(f"Cannot run this job: its process crashed {MAX_CRASHES} times ({cause}).")
        record = failure_record(job.location, error)
        ledger = Ledger(self._folder, self._suffix)
        try:
            ledger.write(job.fingerprint, record)
        finally:
            ledger.close()
        return JobResult(job.fingerprint, record, message=error.message)
