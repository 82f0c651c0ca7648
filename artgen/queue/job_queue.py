"""Runs a plan: what is not done yet, in an order that keeps models loaded and batches full."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from artgen.errors import UsageError
from artgen.events import Event, Listener, WaitingForOthers
from artgen.jobs.batch_size import BatchSizePolicy, JobGroup
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobRecord, JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.planner import PlannedJob

POLL_SECONDS = 0.5
"""Seconds between looks at the jobs that other processes have."""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs of a plan this run is about.

    Attributes:
        shard: (i, n): every n-th job, beginning with number i counted from 0.
        shuffle: in random order.
        limit: at most so many.
        retry_failed: also those that failed before.
    """

    shard: tuple[int, int] = (0, 1)
    shuffle: bool = False
    limit: int | None = None
    retry_failed: bool = False


@dataclass
class RunState:
    """What is known of a plan's jobs.

    Attributes:
        jobs: in this run's shard.
        pending: to draw now, in order of drawing.
        num_completed: how many were done before.
        failed: those that failed before and are left alone.
        group_sizes: how many jobs of each shape the plan has, those of other shards and those that are done included.
    """

    jobs: Sequence[PlannedJob]
    pending: list[PlannedJob]
    num_completed: int
    failed: list[tuple[PlannedJob, JobRecord]] = field(default_factory=list)
    group_sizes: Mapping[int, int] = field(default_factory=dict)


def pending_jobs(jobs: Sequence[PlannedJob], ledger: Ledger, job_filter: JobFilter) -> RunState:
    """Looks up in the ledger what is left to do."""
    ledger.refresh()
    index, count = job_filter.shard
    chosen = [job for job in jobs if (job.number - 1) % count == index]
    done = ledger.completed_keys()
    left = [job for job in chosen if job.fingerprint not in done]
    failed = [] if job_filter.retry_failed else [(job, r) for job in left if (r := ledger.failed(job.fingerprint))]
    skipped = {job.fingerprint for job, _ in failed}
    todo = [job for job in left if job.fingerprint not in skipped]
    if job_filter.shuffle:
        random.shuffle(todo)
    # The same device batches, and so the same bits, however many processes share the work.
    shapes = Counter(job.group_id for job in jobs)
    return RunState(chosen, _sort_by_model(todo[: job_filter.limit]), len(chosen) - len(left), failed, shapes)


def _sort_by_model(jobs: list[PlannedJob]) -> list[PlannedJob]:
    """Models one after the other, shapes one after the other, each where it came first."""
    models: dict[str | None, int] = {}
    shapes: dict[int, int] = {}
    for job in jobs:
        models.setdefault(job.request.model, len(models))
        shapes.setdefault(job.group_id, len(shapes))
    return sorted(jobs, key=lambda job: (models[job.request.model], shapes[job.group_id]))


@dataclass(frozen=True)
class JobBatch:
    """Jobs of one shape to draw in one device batch, and its rows; none when nothing is left."""

    jobs: list[PlannedJob] = field(default_factory=list)
    batch_size: int = 1


class JobQueue:
    """Jobs to draw, handed out a device batch at a time."""

    def __init__(
        self, jobs: Sequence[PlannedJob], batch_size_policy: BatchSizePolicy, group_sizes: Mapping[int, int]
    ) -> None:
        """`group_sizes` says how many jobs of each shape there are, however many of them are left."""
        self._remaining = deque(jobs)
        self._group_sizes = group_sizes
        self._remaining_per_group = Counter(job.group_id for job in jobs)
        self._batch_size_policy = batch_size_policy
        self._run_alone: set[str] = set()

    def __len__(self) -> int:
        return len(self._remaining)

    @property
    def remaining(self) -> Sequence[PlannedJob]:
        """What is not handed out, in order."""
        return self._remaining

    def next_batch(self) -> JobBatch:
        """The next jobs."""
        if not self._remaining:
            return JobBatch()
        rows = self._batch_size_for(self._remaining[0])
        taken = [self._remaining.popleft()]
        number = taken[0].group_id
        while self._remaining and len(taken) < rows:
            following = self._remaining[0]
            if following.group_id != number or following.fingerprint in self._run_alone:
                break
            taken.append(self._remaining.popleft())
        self._remaining_per_group[number] -= len(taken)
        return JobBatch(taken, rows)

    def _batch_size_for(self, job: PlannedJob) -> int:
        if job.fingerprint in self._run_alone:
            return 1
        number = job.group_id
        return self._batch_size_policy.next_batch_size(
            JobGroup(number, self._group_sizes[number], self._remaining_per_group[number], job.template.default_size)
        )

    def put_back(self, jobs: Sequence[PlannedJob]) -> None:
        """Returns jobs, to be handed out next and each alone."""
        self._run_alone.update(job.fingerprint for job in jobs)
        self._remaining.extendleft(reversed(jobs))
        self._remaining_per_group.update(job.group_id for job in jobs)

    def record_timing(self, jobs: Sequence[PlannedJob], seconds_per_image: float | None) -> None:
        """Takes note of how long each of some jobs took."""
        if seconds_per_image is not None:
            self._batch_size_policy.record_timing(jobs[0].group_id, len(jobs), seconds_per_image)


OnResult = Callable[[PlannedJob, JobResult], None]


class Runner(Protocol):
    """Draws a queue of jobs to its end, in this process, others, or on other machines."""

    def __call__(self, queue: JobQueue, on_result: OnResult, listener: Listener) -> list[PlannedJob]:
        """Returns the jobs that were another process's at the time."""


def handle_result(job: PlannedJob, result: JobResult, on_result: OnResult, claimed_elsewhere: list[PlannedJob]) -> None:
    """Tells of a job's end, or puts it with those that another process has."""
    if result.record is None:
        claimed_elsewhere.append(job)
    else:
        on_result(job, result)


def in_process_runner(folder: Path, suffix: str = "") -> Runner:
    """A runner that draws in this process, one device batch after the other."""

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> list[PlannedJob]:
        results: SimpleQueue[JobResult] = SimpleQueue()
        known: dict[str, PlannedJob] = {}
        elsewhere: list[PlannedJob] = []

        def deliver() -> None:
            for result in _drain(results):
                handle_result(known.pop(result.fingerprint), result, on_result, elsewhere)

        def heard(event: Event) -> None:
            deliver()
            listener(event)

        ledger = Ledger(folder, suffix)
        try:
            with JobRunner(ledger, JobLocks(folder), results.put, heard) as drawer:
                while (taken := queue.next_batch()).jobs:
                    known |= {job.fingerprint: job for job in taken.jobs}
                    queue.record_timing(taken.jobs, drawer.run(taken.jobs, taken.batch_size, queue.remaining))
                    deliver()
        finally:
            deliver()
            ledger.close()
        return elsewhere

    return run


def run_jobs(
    state: RunState, runner: Runner, batch_size_policy: BatchSizePolicy, on_result: OnResult, listener: Listener
) -> None:
    """Draws jobs; those that another process has are waited for, and taken over should it die.

    Raises:
        OutputError: something could not be written; what was done is safe.
    """
    left = list(state.pending)
    while left:
        waiting = runner(JobQueue(left, batch_size_policy, state.group_sizes), on_result, listener)
        if len(waiting) == len(left):
            listener(WaitingForOthers(len(waiting)))
            time.sleep(POLL_SECONDS)
        left = waiting


def _drain(results: "SimpleQueue[JobResult]") -> Iterator[JobResult]:
    while True:
        try:
            yield results.get_nowait()
        except Empty:
            return


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8`: the third of eight, as SLURM counts its array tasks from 0.

    Raises:
        UsageError: not two whole numbers with the first below the second.
    """
    first, separator, second = text.partition("/")
    if separator and first.strip().isdecimal() and second.strip().isdecimal() and int(first) < int(second):
        return int(first), int(second)
    raise UsageError(f"--shard takes i/n with i from 0 to n-1, not {text!r}.", "The first of eight is 0/8.")
