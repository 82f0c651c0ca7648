"""Score image files: in this process, in several processes of this machine, or on a Ray cluster."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError
from artgen.events import Event, Listener, ModelSelected, Notice, StepEvent, WaitingForOthers, no_op
from artgen.jobs.image_ranking import RankPlan, ScoredPrompt
from artgen.queue.job_queue import POLL_SECONDS
from artgen.queue.process_pool import WorkerFailed, WorkerStarted, exit_reason, pin_to_device
from artgen.queue.ray_pool import actor_error, connect_cluster
from artgen.system import hardware, process

MAX_CRASHES = 3
"""Number of crashes in a row after which the run stops."""


@dataclass(frozen=True)
class ScoredFile:
    """Store the score of a file, or the error.

    Attributes:
        path: the file.
        score: the score; None if the file could not be scored.
        error: why the file has no score; None otherwise.
    """

    path: Path
    score: float | None = None
    error: ArtgenError | None = None


Prompts = Mapping[Path, ScoredPrompt]


def score_files(
    plan: RankPlan, prompts: Prompts, listener: Listener, *, num_workers: int = 1, ray: str | None = None
) -> Iterator[ScoredFile]:
    """Yield the score of each file when it is known. The order depends on the processes.

    Args:
        plan: validated request whose weights are on the disk.
        prompts: prompt of each file.
        listener: receives the progress.
        num_workers: number of processes.
        ray: address of a Ray cluster; replaces `num_workers`.

    Raises:
        UsageError: Ray is not installed, or the cluster is unreachable.
        ArtgenError: the model cannot score images; the message states the reason.
    """
    if not prompts:
        return
    if ray is not None:
        results = _score_with_ray(plan, prompts, ray, listener)
    elif num_workers > 1 and len(prompts) > 1:
        results = _WorkerProcesses(plan, prompts, min(num_workers, len(prompts)), listener).run()
    else:
        yield from _score_here(plan, prompts, listener)
        return
    with contextlib.closing(results):
        for number, result in enumerate(results, 1):
            listener(StepEvent(1, 1, number, 1, len(prompts)))
            yield result


def _file_scorer(plan: RankPlan, num_files: int, listener: Listener) -> Any:
    from artgen.engine import fast_import

    with process.paused_gc(), fast_import.quiet_log():
        from artgen.engine.image_scores.rank_images import FileScorer

    return FileScorer(plan, num_files, listener)


def _score(scorer: Any, path: Path, prompt: ScoredPrompt, number: int = 1) -> ScoredFile:
    try:
        return ScoredFile(path, scorer.score(path, prompt, number))
    except InputFileError as error:
        return ScoredFile(path, error=error)


def _score_here(plan: RankPlan, prompts: Prompts, listener: Listener) -> Iterator[ScoredFile]:
    scorer = _file_scorer(plan, len(prompts), listener)
    for number, (path, prompt) in enumerate(prompts.items(), 1):
        yield _score(scorer, path, prompt, number)


@dataclass
class _Worker:
    """Store the state of a process: its index, its connection, and the file that it scores."""

    index: int
    process: BaseProcess
    connection: Connection
    path: Path | None = None
    started: bool = False


class _WorkerProcesses:
    """Score files with several processes. A crash fails the file that the process scores, and no other file."""

    def __init__(self, plan: RankPlan, prompts: Prompts, num_workers: int, listener: Listener) -> None:
        self._plan = plan
        self._prompts = prompts
        self._num_workers = num_workers
        self._listener = listener
        self._remaining = deque(prompts)
        self._has_model = False
        self._num_crashes = 0

    def run(self) -> Generator[ScoredFile]:
        """Yield the results.

        Raises:
            ArtgenError: a process cannot start, or the model cannot score images.
        """
        workers: dict[Any, _Worker] = {}
        try:
            for index in range(self._num_workers):
                self._add(workers, index)
            while workers:
                self._listener(WaitingForOthers(len(workers)))
                for connection in wait(list(workers), timeout=POLL_SECONDS):
                    worker = workers[connection]
                    try:
                        message = worker.connection.recv()
                    except (EOFError, OSError):
                        del workers[connection]
                        yield self._crashed(worker)
                        if self._remaining:
                            self._add(workers, worker.index)
                        continue
                    if isinstance(message, ScoredFile):
                        self._num_crashes = 0
                        yield message
                        if not self._assign(worker):
                            self._stop(workers.pop(connection))
                    else:
                        self._handle(worker, message)
        finally:
            for worker in workers.values():
                worker.process.terminate()
                self._stop(worker)

    def _add(self, workers: dict[Any, _Worker], index: int) -> None:
        context = multiprocessing.get_context("spawn")
        connection, worker_connection = context.Pipe()
        arguments = (worker_connection, self._plan, index, self._num_workers, hardware.cuda_device_count())
        started = context.Process(target=_worker_main, args=arguments, name=f"artgen-score-{index}", daemon=True)
        started.start()
        worker_connection.close()
        workers[connection] = worker = _Worker(index, started, connection)
        self._assign(worker)

    def _assign(self, worker: _Worker) -> bool:
        """Send the next file. Return False if all files are assigned."""
        worker.path = self._remaining.popleft() if self._remaining else None
        if worker.path is not None:
            with contextlib.suppress(OSError):  # the crash is found when the connection is read
                worker.connection.send((worker.path, self._prompts[worker.path]))
        return worker.path is not None

    def _handle(self, worker: _Worker, message: WorkerStarted | WorkerFailed | Event) -> None:
        match message:
            case WorkerStarted():
                worker.started = True
            case WorkerFailed(error):
                raise error
            case ModelSelected() if self._has_model:  # of another process
                pass
            case _:
                self._has_model |= isinstance(message, ModelSelected)
                self._listener(message)

    def _crashed(self, worker: _Worker) -> ScoredFile:
        worker.process.join()
        cause = exit_reason(worker.process.exitcode or 0)
        worker.connection.close()
        self._num_crashes += 1
        if not worker.started or worker.path is None or self._num_crashes == MAX_CRASHES:
            raise ArtgenError(
                f"Cannot {'score images' if worker.started else 'start a worker'}: the process exited ({cause}).",
                "See the messages above, or run the command without --workers.",
            )
        return ScoredFile(worker.path, error=ArtgenError(f"Cannot score '{worker.path}': a worker crashed ({cause})."))

    @staticmethod
    def _stop(worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join()


def _worker_main(connection: Connection, plan: RankPlan, index: int, num_workers: int, num_devices: int) -> None:
    """Run a worker process: receive files, send their scores."""
    process.configure_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main process handles it
    pin_to_device(index, num_workers, num_devices)

    def on_event(event: Event) -> None:
        if isinstance(event, ModelSelected | Notice):
            connection.send(event)

    try:
        connection.send(WorkerStarted())
        scorer = _file_scorer(plan, 1, on_event)
        while True:
            path, prompt = connection.recv()
            connection.send(_score(scorer, path, prompt))
    except ArtgenError as error:
        connection.send(WorkerFailed(error))
    except (EOFError, OSError):
        pass  # the main process has closed the connection


class ScoreActor:
    """Score files on a machine of a Ray cluster."""

    def __init__(self, working_dir: str, plan: RankPlan) -> None:
        os.chdir(working_dir)  # paths are relative to this folder
        self._scorer = _file_scorer(plan, 1, no_op)

    def score(self, path: Path, prompt: ScoredPrompt) -> ScoredFile:
        """Return the score of a file, or its error."""
        return _score(self._scorer, path, prompt)


def _score_with_ray(plan: RankPlan, prompts: Prompts, address: str, listener: Listener) -> Generator[ScoredFile]:
    """Yield the results of a Ray cluster, with one actor per GPU, or per CPU core without GPUs.

    Raises:
        ArtgenError: the cluster is unreachable, or an actor failed.
    """
    ray = connect_cluster(address)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    actor_class = ray.remote(ScoreActor).options(**({"num_gpus": 1} if gpus else {"num_cpus": 1}))
    remaining = deque(prompts)
    running: dict[Any, tuple[Any, Path]] = {}

    def assign(actor: Any) -> None:
        if remaining:
            path = remaining.popleft()
            running[actor.score.remote(path, prompts[path])] = (actor, path)

    try:
        for _ in range(min(gpus or int(resources.get("CPU", 1)), len(prompts))):
            assign(actor_class.remote(str(Path.cwd()), plan))
        while running:
            listener(WaitingForOthers(len(running)))
            for reference in ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)[0]:
                actor, path = running.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise actor_error(error) from error
                except ray.exceptions.RayActorError as error:
                    cause = str(error).splitlines()[0]
                    yield ScoredFile(path, error=ArtgenError(f"Cannot score '{path}': a Ray actor crashed.", cause))
                    actor = actor_class.remote(str(Path.cwd()), plan)
                assign(actor)
    finally:
        for actor, _ in running.values():
            ray.kill(actor)
