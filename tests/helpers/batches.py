"""Batches for the tests: plans over a tiny model, run in this process or in children that can be killed."""

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from artgen.events import no_op
from artgen.jobs.batch_size import parse_batch_size
from artgen.queue.entries import Entry
from artgen.queue.job_queue import JobFilter, Runner, RunState, in_process_runner, pending_jobs, run_jobs
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.planner import BatchPlan, PlannedJob, Planner


def entries(count: int) -> list[Entry]:
    """Prompts with different words, seeds and steps."""
    return [
        Entry("prompts.txt", number, {"prompt": f"a red fox {number}", "seed": str(number), "steps": 1 + number % 2})
        for number in range(1, count + 1)
    ]


def plan(folder: Path, model: Path | str, found: Sequence[Entry]) -> BatchPlan:
    """A plan without mistakes."""
    made = Planner(folder, {"model": str(model)}).build_plan(found)
    assert not made.line_errors, [mistake.error for mistake in made.line_errors]
    return made


def draw(
    made: BatchPlan,
    runner: Runner | None = None,
    *,
    batch_size: str | None = "1",
    selection: JobFilter | None = None,
    on_result: Callable[[PlannedJob, JobResult], None] | None = None,
) -> tuple[RunState, list[JobResult]]:
    """Runs a plan; what was left to do, and how each job ended."""
    ledger = Ledger(made.folder)
    counted = pending_jobs(made.jobs, ledger, selection or JobFilter())
    results: list[JobResult] = []

    def tell(job: PlannedJob, result: JobResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(job, result)

    run_jobs(counted, runner or in_process_runner(made.folder), parse_batch_size(batch_size), tell, no_op)
    return counted, results


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each picture of a folder by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.png"))}


def seconds(folder: Path) -> float:
    """From the end of a batch's first picture to that of its last."""
    ledger = Ledger(folder)
    ledger.refresh()
    times = [record.time for record in ledger.records.values()]
    return max(times) - min(times)


def child(work: Callable[[], None]) -> int:
    """A forked process that does some work and leaves without a word; its number."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return number


def killed_at_random(work: Callable[[], None], times: int, longest: float) -> Iterator[int]:
    """Starts some work `times` times and kills it each time after up to `longest` seconds; yields after each death."""
    chance = random.Random(7)
    for _ in range(times):
        number = child(work)
        time.sleep(chance.uniform(0.02, longest))
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        yield number
