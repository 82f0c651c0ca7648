"""Runs a plan: what is not done yet, in an order that keeps models loaded and batches full."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from artgen.batch.claims import Claims
from artgen.batch.drawing import Drawer
from artgen.batch.ledger import Ledger, Record
from artgen.batch.plan import Job
from artgen.batch.results import Result
from artgen.engine.sizes import Alike, BatchSize
from artgen.errors import UsageError
from artgen.events import Event, Listener, Waiting

PATIENCE = 0.5
"""Seconds between looks at the jobs that other processes have."""


@dataclass(frozen=True)
class Selection:
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
class Tally:
    """What is known of a plan's jobs.

    Attributes:
        jobs: in this run's shard.
        todo: to draw now, in order of drawing.
        done: how many were done before.
        failed: those that failed before and are left alone.
        shapes: how many jobs of each shape the plan has, those of other shards and those that are done included.
    """

    jobs: Sequence[Job]
    todo: list[Job]
    done: int
    failed: list[tuple[Job, Record]] = field(default_factory=list)
    shapes: Mapping[int, int] = field(default_factory=dict)


def tally(jobs: Sequence[Job], ledger: Ledger, selection: Selection) -> Tally:
    """Looks up in the ledger what is left to do."""
    ledger.refresh()
    index, count = selection.shard
    chosen = [job for job in jobs if (job.number - 1) % count == index]
    done = ledger.all_done()
    left = [job for job in chosen if job.key not in done]
    failed = [] if selection.retry_failed else [(job, r) for job in left if (r := ledger.failed(job.key))]
    skipped = {job.key for job, _ in failed}
    todo = [job for job in left if job.key not in skipped]
    if selection.shuffle:
        random.shuffle(todo)
    # The same device batches, and so the same bits, however many processes share the work.
    shapes = Counter(job.alike for job in jobs)
    return Tally(chosen, _grouped(todo[: selection.limit]), len(chosen) - len(left), failed, shapes)


def _grouped(jobs: list[Job]) -> list[Job]:
    """Models one after the other, shapes one after the other, each where it came first."""
    models: dict[str | None, int] = {}
    shapes: dict[int, int] = {}
    for job in jobs:
        models.setdefault(job.request.model, len(models))
        shapes.setdefault(job.alike, len(shapes))
    return sorted(jobs, key=lambda job: (models[job.request.model], shapes[job.alike]))


@dataclass(frozen=True)
class Handful:
    """Jobs of one shape to draw in one device batch, and its rows; none when nothing is left."""

    jobs: list[Job] = field(default_factory=list)
    rows: int = 1


class Queue:
    """Jobs to draw, handed out a device batch at a time."""

    def __init__(self, jobs: Sequence[Job], batch_size: BatchSize, shapes: Mapping[int, int]) -> None:
        """`shapes` says how many jobs of each shape there are, however many of them are left."""
        self._left = deque(jobs)
        self._shapes = shapes
        self._open = Counter(job.alike for job in jobs)
        self._batch_size = batch_size
        self._alone: set[str] = set()

    def __len__(self) -> int:
        return len(self._left)

    @property
    def left(self) -> Sequence[Job]:
        """What is not handed out, in order."""
        return self._left

    def take(self) -> Handful:
        """The next jobs."""
        if not self._left:
            return Handful()
        rows = self._rows(self._left[0])
        taken = [self._left.popleft()]
        number = taken[0].alike
        while self._left and len(taken) < rows:
            following = self._left[0]
            if following.alike != number or following.key in self._alone:
                break
            taken.append(self._left.popleft())
        self._open[number] -= len(taken)
        return Handful(taken, rows)

    def _rows(self, job: Job) -> int:
        if job.key in self._alone:
            return 1
        number = job.alike
        return self._batch_size.rows(Alike(number, self._shapes[number], self._open[number], job.shape.suited))

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Returns jobs, to be handed out next and each alone."""
        self._alone.update(job.key for job in jobs)
        self._left.extendleft(reversed(jobs))
        self._open.update(job.alike for job in jobs)

    def learn(self, jobs: Sequence[Job], seconds: float | None) -> None:
        """Takes note of how long each of some jobs took."""
        if seconds is not None:
            self._batch_size.learn(jobs[0].alike, len(jobs), seconds)


OnResult = Callable[[Job, Result], None]


class Runner(Protocol):
    """Draws a queue of jobs to its end, in this process, others, or on other machines."""

    def __call__(self, queue: Queue, on_result: OnResult, listener: Listener) -> list[Job]:
        """Returns the jobs that were another process's at the time."""


def settle(job: Job, result: Result, on_result: OnResult, elsewhere: list[Job]) -> None:
    """Tells of a job's end, or puts it with those that another process has."""
    if result.record is None:
        elsewhere.append(job)
    else:
        on_result(job, result)


def run_here(folder: Path, suffix: str = "") -> Runner:
    """A runner that draws in this process, one device batch after the other."""

    def run(queue: Queue, on_result: OnResult, listener: Listener) -> list[Job]:
        results: SimpleQueue[Result] = SimpleQueue()
        known: dict[str, Job] = {}
        elsewhere: list[Job] = []

        def deliver() -> None:
            for result in _waiting(results):
                settle(known.pop(result.key), result, on_result, elsewhere)

        def heard(event: Event) -> None:
            deliver()
            listener(event)

        ledger = Ledger(folder, suffix)
        try:
            with Drawer(ledger, Claims(folder), results.put, heard) as drawer:
                while (taken := queue.take()).jobs:
                    known |= {job.key: job for job in taken.jobs}
                    queue.learn(taken.jobs, drawer.draw(taken.jobs, taken.rows, queue.left))
                    deliver()
        finally:
            deliver()
            ledger.close()
        return elsewhere

    return run


def run(counted: Tally, runner: Runner, batch_size: BatchSize, on_result: OnResult, listener: Listener) -> None:
    """Draws jobs; those that another process has are waited for, and taken over should it die.

    Raises:
        OutputError: something could not be written; what was done is safe.
    """
    left = list(counted.todo)
    while left:
        waiting = runner(Queue(left, batch_size, counted.shapes), on_result, listener)
        if len(waiting) == len(left):
            listener(Waiting(len(waiting)))
            time.sleep(PATIENCE)
        left = waiting


def _waiting(results: "SimpleQueue[Result]") -> Iterator[Result]:
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
