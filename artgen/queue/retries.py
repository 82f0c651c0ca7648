"""Jobs whose process died: tried again alone, and left alone when they keep killing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from artgen.errors import ArtgenError
from artgen.queue.job_queue import JobQueue, OnResult
from artgen.queue.ledger import JobResult, Ledger, failure_record
from artgen.queue.planner import PlannedJob

MAX_CRASHES = 3
"""How many processes one job may kill before it counts as failed."""


class CrashTracker:
    """Counts the deaths that each job was alone in."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._crash_counts: Counter[str] = Counter()

    def requeue(self, jobs: Sequence[PlannedJob], cause: str, queue: JobQueue, on_result: OnResult) -> None:
        """Hands the jobs of a dead process out again, each alone; a single one too often there is given up.

        Args:
            jobs: that the process had and whose end it had not told.
            cause: of death, for people.
            queue: takes them back.
            on_result: is told of the one that is given up.
        """
        again = list(jobs)
        if len(again) == 1:
            self._crash_counts[again[0].fingerprint] += 1
            if self._crash_counts[again[0].fingerprint] >= MAX_CRASHES:
                on_result(again[0], self._record_failure(again[0], cause))
                again = []
        queue.put_back(again)

    def _record_failure(self, job: PlannedJob, cause: str) -> JobResult:
        error = ArtgenError(f"Drawing this killed its process {MAX_CRASHES} times ({cause}).")
        record = failure_record(job.location, error)
        ledger = Ledger(self._folder, self._suffix)
        try:
            ledger.write(job.fingerprint, record)
        finally:
            ledger.close()
        return JobResult(job.fingerprint, record, message=error.message)
