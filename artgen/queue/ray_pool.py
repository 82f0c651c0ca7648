"""A Ray cluster: one actor to a GPU, or to a CPU core where there is none; each pulls work when it is free.

Ray Core, not Ray Data: one bad item must not fail the job, and what is finished must not run again. The folder of the
pictures must be one that all machines see.
"""

import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError, DeviceLostError, OutputError, UsageError
from artgen.events import Listener, Notice, WaitingForOthers, no_op
from artgen.queue.job_queue import POLL_SECONDS, JobBatch, JobQueue, OnResult, Runner, handle_result
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.planner import PlannedJob
from artgen.queue.retries import CrashTracker

if TYPE_CHECKING:
    from artgen.engine.memory_policy import OomHistory

LOCAL_ADDRESS = "local"
"""In place of an address: a cluster of this machine alone, for the time of the batch."""


def ray_runner(folder: Path, address: str, suffix: str = "") -> Runner:
    """A runner on a Ray cluster.

    Args:
        folder: of the pictures, seen by all machines under the same path.
        address: the cluster's, `auto` for the one at hand, `local` to start one here.
        suffix: of the ledger.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
    """
    ray = _connect(address)

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> list[PlannedJob]:
        return _RayCluster(ray, folder, suffix, listener).run(queue, on_result)

    return run


class RayActor:
    """What runs on a machine of the cluster."""

    def __init__(self, working_dir: str, folder: Path, suffix: str) -> None:
        os.chdir(working_dir)  # paths in jobs are told from there
        self._folder = folder
        self._suffix = suffix
        self._locks = JobLocks(folder)
        self._oom_history: OomHistory = {}

    def run(self, job_batch: JobBatch) -> tuple[list[JobResult], float | None]:
        """Draws jobs; their ends, and the seconds a picture."""
        results: list[JobResult] = []
        ledger = Ledger(self._folder, self._suffix)
        try:
            with JobRunner(ledger, self._locks, results.append, no_op, self._oom_history) as drawer:
                seconds = drawer.run(job_batch.jobs, job_batch.batch_size)
        except DeviceLostError as error:
            print(error.message, file=sys.stderr, flush=True)
            os._exit(error.exit_code)  # another actor takes this one's place
        finally:
            ledger.close()
        return results, seconds


class _RayCluster:
    def __init__(self, ray: Any, folder: Path, suffix: str, listener: Listener) -> None:
        self._ray = ray
        self._folder = folder
        self._suffix = suffix
        self._listener = listener
        self._crash_tracker = CrashTracker(folder, suffix)
        self._running_tasks: dict[Any, tuple[Any, list[PlannedJob]]] = {}
        self._claimed_elsewhere: list[PlannedJob] = []

    def run(self, queue: JobQueue, on_result: OnResult) -> list[PlannedJob]:
        """Draws all of a queue; returns what other processes had."""
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(gpus or int(resources.get("CPU", 1)), len(queue))
        share = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        make = self._ray.remote(RayActor).options(**share)
        try:
            for _ in range(count):
                self._assign(self._start_actor(make), queue)
            while self._running_tasks:
                finished, _ = self._ray.wait(list(self._running_tasks), num_returns=1, timeout=POLL_SECONDS)
                for reference in finished:
                    self._handle_finished_task(reference, make, queue, on_result)
                self._listener(WaitingForOthers(sum(len(jobs) for _, jobs in self._running_tasks.values())))
        finally:
            for actor, _ in self._running_tasks.values():
                self._ray.kill(actor)
        return self._claimed_elsewhere

    def _start_actor(self, actor_class: Any) -> Any:
        return actor_class.remote(str(Path.cwd()), self._folder, self._suffix)

    def _assign(self, actor: Any, queue: JobQueue) -> None:
        if (taken := queue.next_batch()).jobs:
            self._running_tasks[actor.run.remote(taken)] = (actor, taken.jobs)

    def _handle_finished_task(self, reference: Any, actor_class: Any, queue: JobQueue, on_result: OnResult) -> None:
        actor, jobs = self._running_tasks.pop(reference)
        try:
            results, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _actor_error(error) from error
        except self._ray.exceptions.RayActorError as error:
            cause = str(error).splitlines()[0]
            self._listener(Notice("an actor died; what it had is tried again"))
            self._crash_tracker.requeue(jobs, cause, queue, on_result)
            actor = self._start_actor(actor_class)
        else:
            open_ = {job.fingerprint: job for job in jobs}
            for result in results:
                handle_result(open_[result.fingerprint], result, on_result, self._claimed_elsewhere)
            queue.record_timing(jobs, seconds)
        self._assign(actor, queue)


def _actor_error(error: Any) -> Exception:
    """The error that an actor raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, ArtgenError) else OutputError(f"A machine of the cluster failed: {error}")


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("Ray is not installed.", "pip install 'artgen[ray]'") from error
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL_ADDRESS:
            options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        else:
            _check_reachable(address)
            options["address"] = address
        try:
            ray.init(**options)
        except Exception as error:  # Ray says by a bare Exception that a node took too long to start
            if address == LOCAL_ADDRESS:
                raise UsageError(f"Ray could not start here: {error}", "Try again, or use --workers.") from error
            raise UsageError(f"No Ray cluster answers at {address!r}: {error}", _START_HINT) from error
    return ray


_START_HINT = "Start one with `ray start --head`, or use --ray local."


def _check_reachable(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would go on trying for ten minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\]/]+?)\]?:([0-9]{1,5})", address)
    if address == "auto":
        return
    if found is None:
        raise UsageError(f"--ray takes host:port, auto or local, not {address!r}.", _START_HINT)
    try:
        socket.create_connection((found[1], int(found[2])), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"No Ray cluster answers at {address!r}: {error}.", _START_HINT) from error
