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

from artgen import machine, process
from artgen.batch.casualties import Casualties
from artgen.batch.claims import Claims
from artgen.batch.drawing import Drawer
from artgen.batch.ledger import Ledger
from artgen.batch.plan import Job
from artgen.batch.results import Result
from artgen.batch.running import Handful, OnResult, Queue, Runner, settle
from artgen.errors import ArtgenError, DeviceLostError, OutputError
from artgen.events import Event, Listener, ModelChosen, Note, Waiting


@dataclass(frozen=True)
class Started:
    """A worker is there and waits for jobs."""


@dataclass(frozen=True)
class Ready:
    """A worker has drawn what it had, at so many seconds a picture."""

    seconds: float | None


@dataclass(frozen=True)
class Fatal:
    """A worker met an error that all of them would meet, such as a full disk."""

    error: ArtgenError


@dataclass
class Worker:
    """A process, and what is known of it.

    Attributes:
        number: its share of the machine; another process has it when this one dies.
        line: to the process.
        replaces: whether it took the place of a dead one.
        given: the jobs that it was given last.
        open: the jobs whose end it has not told.
        started: whether it began.
        proven: whether it has drawn all of what it was given once.
        busy: whether it is drawing.
    """

    number: int
    process: BaseProcess
    line: Connection
    replaces: bool = False
    given: list[Job] = field(default_factory=list)
    open: dict[str, Job] = field(default_factory=dict)
    started: bool = False
    proven: bool = False
    busy: bool = False


def run_on_workers(folder: Path, count: int, suffix: str = "") -> Runner:
    """A runner with `count` processes on this machine."""

    def run(queue: Queue, on_result: OnResult, listener: Listener) -> list[Job]:
        return _Pool(folder, suffix, min(count, len(queue)), listener).run(queue, on_result)

    return run


class _Pool:
    def __init__(self, folder: Path, suffix: str, count: int, listener: Listener) -> None:
        self._folder = folder
        self._suffix = suffix
        self._count = count
        self._listener = listener
        self._workers: list[Worker] = []
        self._casualties = Casualties(folder, suffix)
        self._elsewhere: list[Job] = []

    def run(self, queue: Queue, on_result: OnResult) -> list[Job]:
        """Draws all of a queue; returns what other processes had."""
        try:
            for number in range(self._count):
                self._workers.append(self._start(number))
                self._feed(self._workers[-1], queue)
            while any(worker.open or worker.busy for worker in self._workers):
                self._listen(queue, on_result)
        finally:
            self._stop()
        return self._elsewhere

    def _start(self, number: int, replaces: bool = False) -> Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        arguments = (there, self._folder, self._suffix, number, self._count, machine.cuda_devices())
        process = context.Process(target=_work, args=arguments, name=f"artgen-worker-{number}", daemon=True)
        process.start()
        there.close()
        return Worker(number, process, here, replaces)

    def _feed(self, worker: Worker, queue: Queue) -> None:
        taken = queue.take()
        worker.busy = bool(taken.jobs)
        if taken.jobs:
            worker.given = taken.jobs
            worker.open |= {job.key: job for job in taken.jobs}
            with contextlib.suppress(OSError):  # dead already: `_listen` will find out
                worker.line.send(taken)

    def _listen(self, queue: Queue, on_result: OnResult) -> None:
        workers: dict[Any, Worker] = {worker.line: worker for worker in self._workers}
        for line in wait(list(workers), timeout=0.5):
            worker = workers[line]
            try:
                message = worker.line.recv()
            except (EOFError, OSError):
                self._bury(worker, queue, on_result)
                continue
            match message:
                case Result():
                    settle(worker.open.pop(message.key), message, on_result, self._elsewhere)
                case Started():
                    worker.started = True
                case Ready(seconds):
                    worker.proven = True
                    queue.learn(worker.given, seconds)
                    self._feed(worker, queue)
                case Fatal(error):
                    raise error
                case _:
                    self._listener(message)
        self._listener(Waiting(sum(len(worker.open) for worker in self._workers)))

    def _bury(self, worker: Worker, queue: Queue, on_result: OnResult) -> None:
        """Puts another worker in the place of a dead one, but for a GPU that two in turn have lost.

        Raises:
            ArtgenError: it died before it began, as others would: no picture is to blame.
            DeviceLostError: no GPU is left.
        """
        worker.process.join()
        cause = _cause(worker.process.exitcode or 0)
        if not worker.started:
            raise ArtgenError(
                f"A worker died before it began ({cause}).", "What it said is above; without --workers none is needed."
            )
        self._listener(Note(f"a worker died ({cause}); what it had is tried again"))
        self._casualties.lost(list(worker.open.values()), cause, queue, on_result)
        worker.line.close()
        place = self._workers.index(worker)
        if worker.process.exitcode == DeviceLostError.exit_code and worker.replaces and not worker.proven:
            self._workers.pop(place)
            if not self._workers:
                raise DeviceLostError("No GPU answers any more.", "Run the same command again; it goes on.")
        else:
            self._workers[place] = self._start(worker.number, replaces=True)
        for idle in self._workers:
            if not idle.busy:
                self._feed(idle, queue)

    def _stop(self) -> None:
        for worker in self._workers:
            if worker.open:
                worker.process.terminate()
            worker.line.close()
        for worker in self._workers:
            worker.process.join()


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _work(line: Connection, folder: Path, suffix: str, number: int, count: int, devices: int) -> None:
    """What a worker does: takes jobs from the line, draws them, tells."""
    process.take()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides
    take_share(number, count, devices)
    sending = threading.Lock()

    def send(message: Started | Result | Ready | Fatal | Event) -> None:
        with sending:
            line.send(message)

    def heard(event: Event) -> None:
        if isinstance(event, ModelChosen | Note):
            send(event)

    ledger = Ledger(folder, suffix)
    try:
        send(Started())
        with Drawer(ledger, Claims(folder), send, heard) as drawer:
            while True:
                taken: Handful = line.recv()
                send(Ready(drawer.draw(taken.jobs, taken.rows)))
    except OutputError as error:
        send(Fatal(error))
    except DeviceLostError as error:
        print(error.message, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)  # a new process takes this one's place
    except (EOFError, OSError):
        pass  # no more work
    finally:
        ledger.close()


def take_share(number: int, count: int, devices: int) -> None:
    """Keeps this process to its GPU, or to its part of the CPU cores; before torch is imported.

    Args:
        number: of this process, from 0.
        count: of processes that share the machine.
        devices: CUDA devices there are, counted by another process: once the driver was asked, it has read the
            variable that hides the others.
    """
    if devices:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        visible = visible or [str(device) for device in range(devices)]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    mine = cores[number % count :: count] or cores
    if mine:
        os.sched_setaffinity(0, mine)
        os.environ["OMP_NUM_THREADS"] = str(len(mine))
