"""Run a queue on a Ray cluster, with one actor per GPU, or per CPU core without GPUs.

The module uses Ray Core instead of Ray Data: one failed item must not fail the others, and finished items must not run
again. All machines must share the folder of the images.
"""

import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError, DeviceLostError, OutputError, UsageError
from artgen.events import Listener, Notice, WaitingForOthers, no_op
from artgen.queue.job_queue import POLL_SECONDS, JobBatch, JobQueue, OnResult, PausableRun, Runner, handle_result
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.queue.retries import CrashTracker
from artgen.spec.selected_filters import SelectedFilters, effective_names, find_filters, use_filters
from artgen.system.terminal import printable

if TYPE_CHECKING:
    from artgen.engine.memory_policy import OomHistory

LOCAL_ADDRESS = "local"
"""Address of a temporary cluster on this machine."""


def ray_runner(folder: Path, address: str, suffix: str = "") -> Runner:
    """Return a runner that uses a Ray cluster.

    Args:
        folder: folder of the images, with the same path on all machines.
        address: `host:port`, `auto` for a running cluster, or `local` to start a cluster on this machine.
        suffix: suffix of the ledger file.

    Raises:
        UsageError: Ray is not installed, or the cluster is unreachable.
    """
    ray = connect_cluster(address)

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> PausableRun:
        return _RayCluster(ray, folder, suffix, listener).run(queue, on_result)

    return run


class RayActor:
    """Run jobs on a machine of the cluster."""

    def __init__(self, working_dir: str, folder: Path, suffix: str, filters: SelectedFilters) -> None:
        os.chdir(working_dir)  # paths of jobs are relative to this folder
        use_filters(filters)
        self._folder = folder
        self._suffix = suffix
        self._locks = JobLocks(folder)
        self._oom_history: OomHistory = {}

    def run(self, job_batch: JobBatch) -> tuple[list[JobResult], float | None]:
        """Run jobs. Return their results and the seconds per image."""
        results: list[JobResult] = []
        ledger = Ledger(self._folder, self._suffix)
        try:
            with JobRunner(ledger, self._locks, results.append, no_op, self._oom_history) as job_runner:
                seconds = job_runner.run(job_batch.jobs, job_batch.batch_size)
        except DeviceLostError as error:
            print(printable(error.message), file=sys.stderr, flush=True)
            os._exit(error.exit_code)  # the coordinator starts a replacement
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
        self._filters: SelectedFilters = {}

    def run(self, queue: JobQueue, on_result: OnResult) -> PausableRun:
        """Run all jobs of a queue. Return the jobs that other processes had locked."""
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(gpus or int(resources.get("CPU", 1)), len(queue))
        requirements = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        names = {name for job in queue.remaining for name in effective_names(job.request.filter)}
        self._filters = find_filters(sorted(names))
        actor_class = self._ray.remote(RayActor).options(**requirements)
        try:
            for _ in range(count):
                self._assign(self._start_actor(actor_class), queue)
            while self._running_tasks:
                finished, _ = self._ray.wait(list(self._running_tasks), num_returns=1, timeout=POLL_SECONDS)
                for reference in finished:
                    self._handle_finished_task(reference, actor_class, queue, on_result)
                self._listener(WaitingForOthers(sum(len(jobs) for _, jobs in self._running_tasks.values())))
                yield
        finally:
            for actor, _ in self._running_tasks.values():
                self._ray.kill(actor)
        return self._claimed_elsewhere

    def _start_actor(self, actor_class: Any) -> Any:
        return actor_class.remote(str(Path.cwd()), self._folder, self._suffix, self._filters)

    def _assign(self, actor: Any, queue: JobQueue) -> None:
        if (batch := queue.next_batch()).jobs:
            self._running_tasks[actor.run.remote(batch)] = (actor, batch.jobs)

    def _handle_finished_task(self, reference: Any, actor_class: Any, queue: JobQueue, on_result: OnResult) -> None:
        actor, jobs = self._running_tasks.pop(reference)
        try:
            results, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise actor_error(error) from error
        except self._ray.exceptions.RayActorError as error:
            cause = str(error).splitlines()[0]
            self._listener(Notice("A Ray actor crashed. Its jobs are run again."))
            self._crash_tracker.requeue(jobs, cause, queue, on_result)
            actor = self._start_actor(actor_class)
        else:
            jobs_by_fingerprint = {job.fingerprint: job for job in jobs}
            for result in results:
                handle_result(jobs_by_fingerprint[result.fingerprint], result, on_result, self._claimed_elsewhere)
            queue.record_timing(jobs, seconds)
        self._assign(actor, queue)


def actor_error(error: Any) -> Exception:
    """Return the exception that an actor raised."""
    cause = getattr(error, "cause", None)
    return (
        cause
        if isinstance(cause, ArtgenError)
        else OutputError(f"Cannot run jobs on a machine of the cluster: {error}.")
    )


def connect_cluster(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("Cannot use --ray: Ray is not installed.", "pip install 'artgen[ray]'") from error
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL_ADDRESS:
            options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        else:
            _check_reachable(address)
            options["address"] = address
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises a bare Exception if a node starts too slowly
            if address == LOCAL_ADDRESS:
                raise UsageError(f"Cannot start Ray: {error}.", "Try again, or use --workers.") from error
            raise UsageError(f"Cannot connect to the Ray cluster at '{address}': {error}.", _START_HINT) from error
    return ray


_START_HINT = "Start a cluster with `ray start --head`, or use --ray local."


def _check_reachable(address: str) -> None:
    """Check that the address accepts connections. Ray itself would try to connect for ten minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\]/]+?)\]?:([0-9]{1,5})", address)
    if address == "auto":
        return
    if match is None:
        raise UsageError(f"Cannot use --ray {address!r}: it is not host:port, auto or local.", _START_HINT)
    try:
        socket.create_connection((match[1], int(match[2])), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"Cannot connect to the Ray cluster at '{address}': {error}.", _START_HINT) from error
