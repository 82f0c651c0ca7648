"""Run the pending jobs of a plan, sorted so that models stay loaded and batches are full."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from artgen.errors import UsageError
from artgen.events import Event, Listener, WaitingForOthers
from artgen.jobs.batch_size import BatchSizePolicy, JobGroup
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.ledger_lines import JobRecord
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.spec.settings import describe_value, parse_whole_number

MAX_SHARDS = 1_000_000

POLL_SECONDS = 0.5
"""Interval between checks of the jobs that other processes run."""


@dataclass(frozen=True)
class JobFilter:
    """Select the jobs of a run.

    Attributes:
        shard: (i, n): every n-th job, starting with index i.
        shuffle: run the jobs in random order.
        limit: maximum number of jobs; None for all.
        retry_failed: run failed jobs again.
    """

    shard: tuple[int, int] = (0, 1)
    shuffle: bool = False
    limit: int | None = None
    retry_failed: bool = False


@dataclass
class RunState:
    """Store the state of a plan's jobs at the start of a run.

    Attributes:
        jobs: jobs of the shard.
        pending: jobs to run, in this order.
        num_completed: number of jobs of the shard that are done.
        failed: failed jobs that are not retried, with their records.
        group_sizes: number of jobs of each group in the complete plan, including finished jobs and other shards.
    """

    jobs: Sequence[PlannedJob]
    pending: list[PlannedJob]
    num_completed: int
    failed: list[tuple[PlannedJob, JobRecord]] = field(default_factory=list)
    group_sizes: Mapping[int, int] = field(default_factory=dict)


def pending_jobs(jobs: Sequence[PlannedJob], ledger: Ledger, job_filter: JobFilter) -> RunState:
    """Read the ledger and return the jobs to run."""
    ledger.refresh()
    index, count = job_filter.shard
    selected = [job for job in jobs if (job.number - 1) % count == index]
    completed = ledger.completed_keys()
    unfinished = [job for job in selected if job.fingerprint not in completed]
    failed = []
    if not job_filter.retry_failed:
        failed = [(job, record) for job in unfinished if (record := ledger.failed(job.fingerprint))]
    skipped = {job.fingerprint for job, _ in failed}
    pending = [job for job in unfinished if job.fingerprint not in skipped]
    if job_filter.shuffle:
        random.shuffle(pending)
    # All jobs are counted: batch sizes, and therefore pixels, do not depend on the number of processes.
    group_sizes = Counter(job.group_id for job in jobs)
    pending = _sort_by_model(pending[: job_filter.limit])
    return RunState(selected, pending, len(selected) - len(unfinished), failed, group_sizes)


def _sort_by_model(jobs: list[PlannedJob]) -> list[PlannedJob]:
    """Sort jobs by model, then by group, in the order of their first jobs."""
    models: dict[str | None, int] = {}
    groups: dict[int, int] = {}
    for job in jobs:
        models.setdefault(job.request.model, len(models))
        groups.setdefault(job.group_id, len(groups))
    return sorted(jobs, key=lambda job: (models[job.request.model], groups[job.group_id]))


@dataclass(frozen=True)
class JobBatch:
    """Store jobs of one group for one pipeline call and its batch size. `jobs` is empty if the queue is empty."""

    jobs: list[PlannedJob] = field(default_factory=list)
    batch_size: int = 1


class JobQueue:
    """Store the pending jobs and return them in batches."""

    def __init__(
        self, jobs: Sequence[PlannedJob], batch_size_policy: BatchSizePolicy, group_sizes: Mapping[int, int]
    ) -> None:
        """Create a queue.

        Args:
            jobs: pending jobs in order.
            batch_size_policy: selects the batch sizes.
            group_sizes: number of jobs of each group in the complete plan.
        """
        self._remaining = deque(jobs)
        self._group_sizes = group_sizes
        self._remaining_per_group = Counter(job.group_id for job in jobs)
        self._batch_size_policy = batch_size_policy
        self._run_alone: set[str] = set()

    def __len__(self) -> int:
        return len(self._remaining)

    @property
    def remaining(self) -> Sequence[PlannedJob]:
        """Return the jobs that are still in the queue, in order."""
        return self._remaining

    def next_batch(self) -> JobBatch:
        """Remove and return the next jobs."""
        if not self._remaining:
            return JobBatch()
        batch_size = self._batch_size_for(self._remaining[0])
        jobs = [self._remaining.popleft()]
        group_id = jobs[0].group_id
        while self._remaining and len(jobs) < batch_size:
            next_job = self._remaining[0]
            if next_job.group_id != group_id or next_job.fingerprint in self._run_alone:
                break
            jobs.append(self._remaining.popleft())
        self._remaining_per_group[group_id] -= len(jobs)
        return JobBatch(jobs, batch_size)

    def _batch_size_for(self, job: PlannedJob) -> int:
        if job.fingerprint in self._run_alone:
            return 1
        group_id = job.group_id
        remaining = self._remaining_per_group[group_id]
        group = JobGroup(group_id, self._group_sizes[group_id], remaining, job.template.default_size)
        return self._batch_size_policy.next_batch_size(group)

    def put_back(self, jobs: Sequence[PlannedJob]) -> None:
        """Put jobs at the front of the queue. Each of these jobs then runs alone."""
        self._run_alone.update(job.fingerprint for job in jobs)
        self._remaining.extendleft(reversed(jobs))
        self._remaining_per_group.update(job.group_id for job in jobs)

    def record_timing(self, jobs: Sequence[PlannedJob], seconds_per_image: float | None) -> None:
        """Report the generation time per image of a batch to the batch size policy."""
        if seconds_per_image is not None:
            self._batch_size_policy.record_timing(jobs[0].group_id, len(jobs), seconds_per_image)


OnResult = Callable[[PlannedJob, JobResult], None]

PausableRun = Generator[None, None, list[PlannedJob]]
"""Run that pauses at each `yield`: after each pipeline call, or after each message of another process."""


class Runner(Protocol):
    """Run all jobs of a queue in this process, in other processes, or on other machines."""

    def __call__(self, queue: JobQueue, on_result: OnResult, listener: Listener) -> PausableRun:
        """Run the jobs. Return the jobs that other processes had locked."""


def handle_result(job: PlannedJob, result: JobResult, on_result: OnResult, claimed_elsewhere: list[PlannedJob]) -> None:
    """Report the end of a job, or add the job to `claimed_elsewhere` if another process runs it."""
    if result.record is None:
        claimed_elsewhere.append(job)
    else:
        on_result(job, result)


def in_process_runner(folder: Path, suffix: str = "", *, waits_for_saves: bool = False) -> Runner:
    """Return a runner that runs the jobs in this process.

    Args:
        folder: folder of the images.
        suffix: suffix of the ledger file.
        waits_for_saves: report the results of a pipeline call before the run pauses. Otherwise the images are saved
            during the next call.
    """

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> PausableRun:
        results: SimpleQueue[JobResult] = SimpleQueue()
        running: dict[str, PlannedJob] = {}
        claimed_elsewhere: list[PlannedJob] = []

        def deliver_results() -> None:
            for result in _drain(results):
                handle_result(running.pop(result.fingerprint), result, on_result, claimed_elsewhere)

        def on_event(event: Event) -> None:
            deliver_results()
            listener(event)

        ledger, locks = Ledger(folder, suffix), JobLocks(folder)
        try:
            with JobRunner(ledger, locks, results.put, on_event) as job_runner:
                while (batch := queue.next_batch()).jobs:
                    running |= {job.fingerprint: job for job in batch.jobs}
                    queue.record_timing(batch.jobs, job_runner.run(batch.jobs, batch.batch_size, queue.remaining))
                    if waits_for_saves:
                        job_runner.wait_for_saves()
                    deliver_results()
                    yield
        finally:
            deliver_results()
            ledger.close()
            locks.close()
        return claimed_elsewhere

    return run


def run_jobs(
    state: RunState, runner: Runner, batch_size_policy: BatchSizePolicy, on_result: OnResult, listener: Listener
) -> Iterator[None]:
    """Run all pending jobs. Wait for jobs of other processes, and run a job if its process crashes.

    The run pauses at each item of the iterator. If the iterator is closed, the other jobs stay pending.

    Raises:
        OutputError: a file cannot be written. Finished jobs are recorded.
    """
    pending = list(state.pending)
    while pending:
        claimed_elsewhere = yield from runner(
            JobQueue(pending, batch_size_policy, state.group_sizes), on_result, listener
        )
        if len(claimed_elsewhere) == len(pending):
            listener(WaitingForOthers(len(claimed_elsewhere)))
            time.sleep(POLL_SECONDS)
        pending = claimed_elsewhere


def _drain(results: "SimpleQueue[JobResult]") -> Iterator[JobResult]:
    while True:
        try:
            yield results.get_nowait()
        except Empty:
            return


def parse_shard(text: str) -> tuple[int, int]:
    """Parse a shard. `2/8` is the third of eight shards; the index starts at 0, as for SLURM array tasks.

    Raises:
        UsageError: the text is not two integers i/n with i < n.
    """
    first, _, second = text.partition("/")
    index, count = parse_whole_number(first), parse_whole_number(second)
    if index is not None and count is not None and index < count <= MAX_SHARDS:
        return index, count
    raise UsageError(
        f"Cannot use --shard {describe_value(text)}: it is not i/n with i from 0 to n-1 and n up to {MAX_SHARDS:,}.",
        "The first of eight shards is 0/8.",
    )
