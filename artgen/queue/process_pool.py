"""Several processes on one machine: one to a GPU, or to a group of CPU cores; each pulls work when it is free.

A process that dies takes nothing with it: its claims are let go by the system, what it had saved is in the ledger, and
the rest is handed out again, one by one, so that a job that kills its process is found and left alone.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, DeviceLostError, OutputError
from artgen.events import Event, Listener, ModelSelected, Notice, WaitingForOthers
from artgen.queue.job_queue import JobBatch, JobQueue, OnResult, Runner, handle_result
from artgen.queue.job_runner import JobRunner
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.planner import PlannedJob
from artgen.queue.retries import CrashTracker
from artgen.system import hardware, process


@dataclass(frozen=True)
class WorkerStarted:
    """A worker is there and waits for jobs."""


@dataclass(frozen=True)
class WorkerReady:
    """A worker has drawn what it had, at so many seconds a picture."""

    seconds_per_image: float | None


@dataclass(frozen=True)
class WorkerFailed:
    """A worker met an error that all of them would meet, such as a full disk."""

    error: ArtgenError


@dataclass
class Worker:
    """A process, and what is known of it.

    Attributes:
        index: its share of the machine; another process has it when this one dies.
        connection: to the process.
        is_replacement: whether it took the place of a dead one.
        assigned: the jobs that it was given last.
        pending: the jobs whose end it has not told.
        started: whether it began.
        has_succeeded: whether it has drawn all of what it was given once.
        busy: whether it is drawing.
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
    """A runner with `num_workers` processes on this machine."""

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> list[PlannedJob]:
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

    def run(self, queue: JobQueue, on_result: OnResult) -> list[PlannedJob]:
        """Draws all of a queue; returns what other processes had."""
        try:
            for number in range(self._num_workers):
                self._workers.append(self._start_worker(number))
                self._assign(self._workers[-1], queue)
            while any(worker.pending or worker.busy for worker in self._workers):
                self._receive_messages(queue, on_result)
        finally:
            self._stop_workers()
        return self._claimed_elsewhere

    def _start_worker(self, worker_index: int, is_replacement: bool = False) -> Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        arguments = (there, self._folder, self._suffix, worker_index, self._num_workers, hardware.cuda_device_count())
        process = context.Process(
            target=_worker_main, args=arguments, name=f"artgen-worker-{worker_index}", daemon=True
        )
        process.start()
        there.close()
        return Worker(worker_index, process, here, is_replacement)

    def _assign(self, worker: Worker, queue: JobQueue) -> None:
        taken = queue.next_batch()
        worker.busy = bool(taken.jobs)
        if taken.jobs:
            worker.assigned = taken.jobs
            worker.pending |= {job.fingerprint: job for job in taken.jobs}
            with contextlib.suppress(OSError):  # dead already: `_listen` will find out
                worker.connection.send(taken)

    def _receive_messages(self, queue: JobQueue, on_result: OnResult) -> None:
        workers: dict[Any, Worker] = {worker.connection: worker for worker in self._workers}
        for line in wait(list(workers), timeout=0.5):
            worker = workers[line]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._replace_dead_worker(worker, queue, on_result)
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

    def _replace_dead_worker(self, worker: Worker, queue: JobQueue, on_result: OnResult) -> None:
        """Puts another worker in the place of a dead one, but for a GPU that two in turn have lost.

        Raises:
            ArtgenError: it died before it began, as others would: no picture is to blame.
            DeviceLostError: no GPU is left.
        """
        worker.process.join()
        cause = _exit_reason(worker.process.exitcode or 0)
        if not worker.started:
            raise ArtgenError(
                f"A worker died before it began ({cause}).", "What it said is above; without --workers none is needed."
            )
        self._listener(Notice(f"a worker died ({cause}); what it had is tried again"))
        self._crash_tracker.requeue(list(worker.pending.values()), cause, queue, on_result)
        worker.connection.close()
        place = self._workers.index(worker)
        if worker.process.exitcode == DeviceLostError.exit_code and worker.is_replacement and not worker.has_succeeded:
            self._workers.pop(place)
            if not self._workers:
                raise DeviceLostError("No GPU answers any more.", "Run the same command again; it goes on.")
        else:
            self._workers[place] = self._start_worker(worker.index, is_replacement=True)
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


def _exit_reason(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _worker_main(
    connection: Connection, folder: Path, suffix: str, worker_index: int, num_workers: int, num_devices: int
) -> None:
    """What a worker does: takes jobs from the line, draws them, tells."""
    process.configure_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides
    pin_to_device(worker_index, num_workers, num_devices)
    sending = threading.Lock()

    def send(message: WorkerStarted | JobResult | WorkerReady | WorkerFailed | Event) -> None:
        with sending:
            connection.send(message)

    def heard(event: Event) -> None:
        if isinstance(event, ModelSelected | Notice):
            send(event)

    ledger = Ledger(folder, suffix)
    try:
        send(WorkerStarted())
        with JobRunner(ledger, JobLocks(folder), send, heard) as drawer:
            while True:
                taken: JobBatch = connection.recv()
                send(WorkerReady(drawer.run(taken.jobs, taken.batch_size)))
    except OutputError as error:
        send(WorkerFailed(error))
    except DeviceLostError as error:
        print(error.message, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)  # a new process takes this one's place
    except (EOFError, OSError):
        pass  # no more work
    finally:
        ledger.close()


def pin_to_device(worker_index: int, num_workers: int, num_devices: int) -> None:
    """Keeps this process to its GPU, or to its part of the CPU cores; before torch is imported.

    Args:
        worker_index: of this process, from 0.
        num_workers: of processes that share the machine.
        num_devices: CUDA devices there are, counted by another process: once the driver was asked, it has read the
            variable that hides the others.
    """
    if num_devices:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        visible = visible or [str(device) for device in range(num_devices)]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[worker_index % len(visible)]
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    mine = cores[worker_index % num_workers :: num_workers] or cores
    if mine:
        os.sched_setaffinity(0, mine)
        os.environ["OMP_NUM_THREADS"] = str(len(mine))
