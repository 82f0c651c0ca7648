"""Draws jobs in this process: claims them, draws them together, saves and notes them while the next are drawn."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError, DeviceLostError, OutputError
from artgen.events import Event, Listener, Loading, StepEvent, no_op
from artgen.jobs.prepare import Job, ModelCache, prepare_jobs
from artgen.queue.ledger import JobRecord, JobResult, Ledger, failure_record, now
from artgen.queue.locks import JobLocks
from artgen.queue.planner import PlannedJob
from artgen.spec.settings import settings_of

if TYPE_CHECKING:
    from artgen.engine.memory_policy import OomHistory

MAX_PENDING_SAVES = 4
"""Pictures that may wait to be saved while others are drawn, besides those of one device batch."""


class JobRunner:
    """A context manager; on leaving, what was drawn is on the disk."""

    def __init__(
        self,
        ledger: Ledger,
        locks: JobLocks,
        report_result: Callable[[JobResult], None],
        listener: Listener = no_op,
        oom_history: "OomHistory | None" = None,
    ) -> None:
        """`report_result` is told of each job's end, from another thread; `oom_history` is that of an earlier one's drawing."""
        self._ledger = ledger
        self._locks = locks
        self._report_result = report_result
        self._listener = listener
        self._model_cache = ModelCache()
        self._save_executor = ThreadPoolExecutor(1, "artgen-saver")
        self._pending_saves: list[Future[None]] = []
        self._seconds_per_image = 0.0
        self._oom_history: OomHistory = {} if oom_history is None else oom_history

    def __enter__(self) -> "JobRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._save_executor.shutdown(wait=True)
        for future in self._pending_saves:
            future.result()

    def run(self, jobs: Sequence[PlannedJob], batch_size: int, upcoming: Sequence[PlannedJob] = ()) -> float | None:
        """Draws jobs of one shape together; returns seconds a picture once loaded, None when none was drawn.

        A job that fails is noted and reported; the others go on. `batch_size` are those of the device batch, `upcoming`
        are the jobs that this process draws after them.

        Raises:
            OutputError: something could not be written; no further picture could be either.
            DeviceLostError: this process can draw no more; what it had is open still.
        """
        self._drain_saves(batch_size)
        mine = self._acquire_pending(jobs)
        prepared: list[tuple[PlannedJob, Job]] = []
        for job in mine:
            try:
                prepared.append((job, prepare_jobs([job.request], self._listener, self._model_cache)[0]))
            except ArtgenError as error:
                self._record_failure(job, error)
        return self._generate(prepared, batch_size, upcoming) if prepared else None

    def _acquire_pending(self, jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
        mine = [job for job in jobs if self._locks.acquire(job.fingerprint)]
        self._ledger.refresh()  # somebody may have finished one just before it was claimed
        open_ = [job for job in mine if not self._ledger.completed(job.fingerprint)]
        for job in jobs:
            if job not in open_:
                if job in mine:
                    self._locks.release(job.fingerprint)
                self._report_result(JobResult(job.fingerprint, self._ledger.completed(job.fingerprint)))
        return open_

    def _generate(
        self, jobs: list[tuple[PlannedJob, Job]], batch_size: int, upcoming: Sequence[PlannedJob] = ()
    ) -> float | None:
        from artgen.engine import fast_import

        fast_import.import_engine()
        from artgen.engine import generate
        from artgen.jobs.batch_size import ExactBatchSize

        clock = _Timer(self._listener)
        saved = 0
        try:
            reel = jobs[0][0].template.animation_output
            shown = reel.settings if reel else None
            later = self._prepare_upcoming(upcoming, jobs[0][0].request.model)
            course = generate.GenerationContext(later, self._seconds_per_image * len(upcoming), self._oom_history)
            outcomes = generate.generate_jobs(
                [p for _, p in jobs],
                batch_size=ExactBatchSize(batch_size),
                context=course,
                frames=shown,
                listener=clock,
            )
            for (job, _), outcome in zip(jobs, outcomes, strict=True):
                saved += 1
                if isinstance(outcome, generate.FailedImage):
                    self._record_failure(job, outcome.error)
                else:
                    self._pending_saves.append(
                        self._save_executor.submit(self._save, job, outcome, clock.elapsed_seconds / len(jobs))
                    )
        except (OutputError, DeviceLostError):
            raise
        except ArtgenError as error:
            for job, _ in jobs[saved:]:
                self._record_failure(job, error)
        except Exception as error:
            # A job that trips over a bug must not take the night's work with it.
            if len(jobs) - saved > 1:
                for each in jobs[saved:]:
                    self._generate([each], batch_size)
            else:
                self._record_failure(jobs[saved][0], ArtgenError(f"{type(error).__name__}: {error}"))
        self._seconds_per_image = clock.elapsed_seconds / len(jobs)
        return self._seconds_per_image

    def _prepare_upcoming(self, jobs: Iterable[PlannedJob], model: str | None) -> Iterator[Job]:
        """Jobs for a model as they are when their turn comes, one of each wording, up to one that cannot be drawn."""
        seen: set[tuple[Any, ...]] = set()
        for job in jobs:
            if job.request.model != model:
                return
            words = tuple(
                getattr(job.request, name)
                for name, setting in settings_of(type(job.request)).items()
                if "prompt" in setting.affects
            )
            if words in seen:
                continue  # to make it ready would read its pictures for nothing
            seen.add(words)
            try:
                yield prepare_jobs([job.request], self._listener, self._model_cache)[0]
            except ArtgenError:
                return  # it is told of in its turn

    def _save(self, job: PlannedJob, generated: Any, seconds: float) -> None:
        written = JobRecord("done")
        shown: dict[str, str] = {}

        def announce(path: Path, data: bytes) -> None:
            nonlocal written
            if job.template.animation_output is not None and not written.file:  # before the picture counts as done
                shown["frames"] = str(
                    job.template.animation_output.save(generated.frames, generated.record, path, job.number)
                )
            file = path.relative_to(self._ledger.folder).as_posix()
            written = JobRecord(
                "done", file, hashlib.sha256(data).hexdigest(), round(seconds, 3), job.location, time=now()
            )
            self._ledger.write(job.fingerprint, written)

        try:
            job.template.destination.save(
                generated.image,
                generated.record,
                index=job.number,
                on_name_chosen=announce,
                low_bytes=generated.low_bytes,
            )
        finally:
            self._locks.release(job.fingerprint)
        self._report_result(JobResult(job.fingerprint, written, {**generated.record, **shown}))

    def _record_failure(self, job: PlannedJob, error: ArtgenError) -> None:
        record = failure_record(job.location, error)
        self._ledger.write(job.fingerprint, record)
        self._locks.release(job.fingerprint)
        self._report_result(JobResult(job.fingerprint, record, message=f"{error.message}\n{error.hint}".strip()))

    def _drain_saves(self, batch_size: int) -> None:
        """Raises what failed in saving; waits where a slow disk would let pictures pile up in memory."""
        while self._pending_saves and (
            len(self._pending_saves) > MAX_PENDING_SAVES + batch_size or self._pending_saves[0].done()
        ):
            self._pending_saves.pop(0).result()


class _Timer:
    """Counts the seconds of drawing: loading a model says nothing about the next picture."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._start_time = time.monotonic()
        self._loading = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Loading):
            self._loading = True
        elif isinstance(event, StepEvent) and self._loading:
            self._start_time, self._loading = time.monotonic(), False
        self._listener(event)

    @property
    def elapsed_seconds(self) -> float:
        """Since the beginning, or since the first step after a model was loaded."""
        return time.monotonic() - self._start_time
