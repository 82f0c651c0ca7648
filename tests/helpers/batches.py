"""Create and run batches with a tiny model, in this process or in child processes that can be killed."""

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
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.queue.planner import Planner


def create_entries(count: int) -> list[Entry]:
    """Return entries with different prompts, seeds and steps."""
    return [
        Entry("prompts.txt", number, {"prompt": f"a red fox {number}", "seed": str(number), "steps": 1 + number % 2})
        for number in range(1, count + 1)
    ]


def build_plan(folder: Path, model: Path | str, entries: Sequence[Entry]) -> BatchPlan:
    """Return the plan of valid entries."""
    plan = Planner(folder, {"model": str(model)}).build_plan(entries)
    assert not plan.line_errors, [line_error.error for line_error in plan.line_errors]
    return plan


def run_batch(
    plan: BatchPlan,
    runner: Runner | None = None,
    *,
    batch_size: str | None = "1",
    job_filter: JobFilter | None = None,
    on_result: Callable[[PlannedJob, JobResult], None] | None = None,
) -> tuple[RunState, list[JobResult]]:
    """Run a plan. Return the state at the start and the results of the jobs."""
    state = pending_jobs(plan.jobs, Ledger(plan.folder), job_filter or JobFilter())
    results: list[JobResult] = []

    def collect(job: PlannedJob, result: JobResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(job, result)

    for _ in run_jobs(state, runner or in_process_runner(plan.folder), parse_batch_size(batch_size), collect, no_op):
        pass
    return state, results


def image_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each image in a folder, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.png"))}


def batch_seconds(folder: Path) -> float:
    """Return the seconds between the first and the last finished image of a batch."""
    ledger = Ledger(folder)
    ledger.refresh()
    times = [record.time for record in ledger.records.values()]
    return max(times) - min(times)


def fork(work: Callable[[], None]) -> int:
    """Run a function in a forked process. Return the process ID."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def kill_at_random_times(work: Callable[[], None], times: int, max_seconds: float) -> Iterator[int]:
    """Start a function in a process `times` times and kill each process at a random time; yield after each kill."""
    rng = random.Random(7)
    for _ in range(times):
        pid = fork(work)
        time.sleep(rng.uniform(0.02, max_seconds))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        yield pid
