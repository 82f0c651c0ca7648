"""Run a queue with several worker processes on one machine, one per GPU or per group of CPU cores.

A crash loses no finished work: the system releases the locks of the process, and finished jobs are in the ledger. The
other jobs of the process are run again one at a time, so that a job that crashes its process is found and skipped.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, DeviceLostError
from artgen.events import Event, Listener, ModelSelected, Notice, WaitingForOthers
from artgen.queue.job_queue import JobBatch, JobQueue, OnResult, PausableRun, Runner, handle_result
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.queue.retries import CrashTracker
from artgen.system import hardware, process
from artgen.system.command_state import register_reset
from artgen.system.terminal import printable

# This process would keep the streams of a client of the worker open.
register_reset(resource_tracker._resource_tracker._stop)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class WorkerStarted:
    """Report that a worker is ready for its first jobs."""


@dataclass(frozen=True)
class WorkerReady:
    """Report that a worker has finished its jobs, with the seconds per image."""

    seconds_per_image: float | None


@dataclass(frozen=True)
class WorkerFailed:
    """Report an error that affects all workers, such as a full disk."""

    error: ArtgenError


@dataclass
class Worker:
    """Store the state of a worker process.

    Attributes:
        index: index of its GPU or CPU group; a replacement has the same index.
        process: the process.
        connection: connection to the process.
        is_replacement: the worker replaces a crashed worker.
        assigned: jobs that were sent last.
        pending: jobs whose result is not received, by fingerprint.
        started: the process has started.
        has_succeeded: the worker has finished its jobs at least once.
        busy: the worker runs jobs.
    """

    index: int
    process: BaseProcess
    connection: Connection
    is_replacement: bool = False
    assigned: list[PlannedJob] = field(default_factory=list)
    pending: dict[str, PlannedJob] = field(default_factory=dict)
    started: bool = False
    has_succeeded: bool = False
    busy: bool = False


def worker_pool_runner(folder: Path, num_workers: int, suffix: str = "") -> Runner:
    """Return a runner with `num_workers` processes on this machine."""

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> PausableRun:
        return _WorkerPool(folder, suffix, min(num_workers, len(queue)), listener).run(queue, on_result)

    return run


class _WorkerPool:
    def __init__(self, folder: Path, suffix: str, num_workers: int, listener: Listener) -> None:
        self._folder = folder
        self._suffix = suffix
        self._num_workers = num_workers
        self._listener = listener
        self._workers: list[Worker] = []
        self._crash_tracker = CrashTracker(folder, suffix)
        self._claimed_elsewhere: list[PlannedJob] = []

    def run(self, queue: JobQueue, on_result: OnResult) -> PausableRun:
        """Run all jobs of a queue. Return the jobs that other processes had locked."""
        try:
            for index in range(self._num_workers):
                self._workers.append(self._start_worker(index))
                self._assign(self._workers[-1], queue)
            while any(worker.pending or worker.busy for worker in self._workers):
                self._receive_messages(queue, on_result)
                yield
        finally:
            self._stop_workers()
        return self._claimed_elsewhere

    def _start_worker(self, worker_index: int, is_replacement: bool = False) -> Worker:
        context = multiprocessing.get_context("spawn")
        connection, worker_connection = context.Pipe()
        arguments = (
            worker_connection,
            self._folder,
            self._suffix,
            worker_index,
            self._num_workers,
            hardware.cuda_device_count(),
        )
        process = context.Process(
            target=_worker_main, args=arguments, name=f"artgen-worker-{worker_index}", daemon=True
        )
        process.start()
        worker_connection.close()
        return Worker(worker_index, process, connection, is_replacement)

    def _assign(self, worker: Worker, queue: JobQueue) -> None:
        batch = queue.next_batch()
        worker.busy = bool(batch.jobs)
        if batch.jobs:
            worker.assigned = batch.jobs
            worker.pending |= {job.fingerprint: job for job in batch.jobs}
            with contextlib.suppress(OSError):  # `_receive_messages` detects a crashed worker
                worker.connection.send(batch)

    def _receive_messages(self, queue: JobQueue, on_result: OnResult) -> None:
        workers: dict[Any, Worker] = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(workers), timeout=0.5):
            worker = workers[connection]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._replace_crashed_worker(worker, queue, on_result)
                continue
            match message:
                case JobResult():
                    handle_result(worker.pending.pop(message.fingerprint), message, on_result, self._claimed_elsewhere)
                case WorkerStarted():
                    worker.started = True
                case WorkerReady(seconds):
                    worker.has_succeeded = True
                    queue.record_timing(worker.assigned, seconds)
                    self._assign(worker, queue)
                case WorkerFailed(error):
                    raise error
                case _:
                    self._listener(message)
        self._listener(WaitingForOthers(sum(len(worker.pending) for worker in self._workers)))

    def _replace_crashed_worker(self, worker: Worker, queue: JobQueue, on_result: OnResult) -> None:
        """Restart a crashed worker unless two in a row lost the same GPU.

        Raises:
            ArtgenError: the worker crashed before its first job, so the cause is not a job.
            DeviceLostError: all GPUs are lost.
        """
        worker.process.join()
        cause = exit_reason(worker.process.exitcode or 0)
        if not worker.started:
            raise ArtgenError(
                f"Cannot start a worker: the process exited ({cause}).",
                "See the messages above, or run the command without --workers.",
            )
        self._listener(Notice(f"A worker crashed ({cause}). Its jobs are run again."))
        self._crash_tracker.requeue(list(worker.pending.values()), cause, queue, on_result)
        worker.connection.close()
        position = self._workers.index(worker)
        if worker.process.exitcode == DeviceLostError.exit_code and worker.is_replacement and not worker.has_succeeded:
            self._workers.pop(position)
            if not self._workers:
                raise DeviceLostError("Cannot continue: all GPUs are lost.", "Run the same command again to resume.")
        else:
            self._workers[position] = self._start_worker(worker.index, is_replacement=True)
        for idle in self._workers:
            if not idle.busy:
                self._assign(idle, queue)

    def _stop_workers(self) -> None:
        for worker in self._workers:
            if worker.pending:
                worker.process.terminate()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join()


def exit_reason(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _worker_main(
    connection: Connection, folder: Path, suffix: str, worker_index: int, num_workers: int, num_devices: int
) -> None:
    """Run the worker process: receive jobs, run them, send results."""
    process.configure_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main process handles it
    pin_to_device(worker_index, num_workers, num_devices)
    send_lock = threading.Lock()

    def send(message: WorkerStarted | JobResult | WorkerReady | WorkerFailed | Event) -> None:
        with send_lock:
            connection.send(message)

    def on_event(event: Event) -> None:
        if isinstance(event, ModelSelected | Notice):
            send(event)

    ledger = Ledger(folder, suffix)
    try:
        send(WorkerStarted())
        with JobRunner(ledger, JobLocks(folder), send, on_event) as job_runner:
            while True:
                batch: JobBatch = connection.recv()
                send(WorkerReady(job_runner.run(batch.jobs, batch.batch_size)))
    except DeviceLostError as error:
        print(printable(error.message), file=sys.stderr, flush=True)
        sys.exit(error.exit_code)  # the main process starts a replacement
    except ArtgenError as error:
        send(WorkerFailed(error))
    except (EOFError, OSError):
        pass  # the main process has closed the connection
    finally:
        ledger.close()


def pin_to_device(worker_index: int, num_workers: int, num_devices: int) -> None:
    """Restrict this process to its GPU or to its CPU cores. Call this function before the import of torch.

    Args:
        worker_index: index of this process, counted from 0.
        num_workers: number of processes on this machine.
        num_devices: number of CUDA devices, counted in another process: the driver reads CUDA_VISIBLE_DEVICES only
            once, at the first query.
    """
    if num_devices:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        visible = visible or [str(device) for device in range(num_devices)]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[worker_index % len(visible)]
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own_cores = cores[worker_index % num_workers :: num_workers] or cores
    if own_cores:
        os.sched_setaffinity(0, own_cores)
        os.environ["OMP_NUM_THREADS"] = str(len(own_cores))
