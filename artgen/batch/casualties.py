"""Jobs whose process died: tried again alone, and left alone when they keep killing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from artgen.batch.ledger import Ledger, failure
from artgen.batch.plan import Job
from artgen.batch.results import Result
from artgen.batch.running import OnResult, Queue
from artgen.errors import ArtgenError

TRIES = 3
"""How many processes one job may kill before it counts as failed."""


class Casualties:
    """Counts the deaths that each job was alone in."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._deaths: Counter[str] = Counter()

    def lost(self, jobs: Sequence[Job], cause: str, queue: Queue, on_result: OnResult) -> None:
        """Hands the jobs of a dead process out again, each alone; a single one too often there is given up.

        Args:
            jobs: that the process had and whose end it had not told.
            cause: of death, for people.
            queue: takes them back.
            on_result: is told of the one that is given up.
        """
        again = list(jobs)
        if len(again) == 1:
            self._deaths[again[0].key] += 1
            if self._deaths[again[0].key] >= TRIES:
                on_result(again[0], self._give_up(again[0], cause))
                again = []
        queue.put_back(again)

    def _give_up(self, job: Job, cause: str) -> Result:
        error = ArtgenError(f"Drawing this killed its process {TRIES} times ({cause}).")
        record = failure(job.where, error)
        ledger = Ledger(self._folder, self._suffix)
        try:
            ledger.write(job.key, record)
        finally:
            ledger.close()
        return Result(job.key, record, message=error.message)
