"""Run jobs in this process: lock, generate, and save them in a thread while the next jobs run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError, DeviceLostError, OutputError, PipelineError
from artgen.events import Listener, Notice, no_op
from artgen.jobs.job import Job
from artgen.jobs.model_entries import ModelCache
from artgen.jobs.notes import source_seed_warning
from artgen.jobs.prepare import prepare_jobs
from artgen.queue.job_recorder import JobRecorder
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.spec.settings import settings_of

if TYPE_CHECKING:
    from artgen.engine.memory_policy import OomHistory

MAX_PENDING_SAVES = 4
"""Maximum number of images that wait to be saved, in addition to one batch."""


class JobRunner:
    """Run jobs of one group at a time. Leave the context to wait until all images are saved."""

    def __init__(
        self,
        ledger: Ledger,
        locks: JobLocks,
        report_result: Callable[[JobResult], None],
        listener: Listener = no_op,
        oom_history: "OomHistory | None" = None,
    ) -> None:
        """Create a runner.

        Args:
            ledger: receives the records.
            locks: locks of this process.
            report_result: called at the end of each job, from the saving thread.
            listener: receives events.
            oom_history: out-of-memory history of an earlier runner in the same process.
        """
        self._recorder = JobRecorder(ledger, locks, report_result)
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
        """Run jobs of one group. Return the seconds per image without loading time, or None if no image was generated.

        A failed job is recorded and reported; the other jobs continue.

        Args:
            jobs: jobs of one group.
            batch_size: batch size of the pipeline call.
            upcoming: jobs that this process runs next.

        Raises:
            OutputError: a file cannot be written.
            DeviceLostError: the GPU is lost. Unfinished jobs are not recorded.
        """
        self._drain_saves(batch_size)
        acquired = self._recorder.acquire_pending(jobs)
        prepared: list[tuple[PlannedJob, Job]] = []
        for job in acquired:
            try:
                prepared.append((job, prepare_jobs([job.request], self._listener, self._model_cache)[0]))
            except ArtgenError as error:
                self._recorder.record_failure(job, error)
        for job, each in prepared:
            for text in filter(None, (source_seed_warning(each.request), *each.filters.notes)):
                self._listener(Notice(f"{job.location}: {text}" if job.location else text))
        return self._generate(prepared, batch_size, upcoming) if prepared else None

    def _generate(
        self, jobs: list[tuple[PlannedJob, Job]], batch_size: int, upcoming: Sequence[PlannedJob] = ()
    ) -> float | None:
        from artgen.engine.generation_timer import GenerationTimer
        from artgen.engine.select_engine import import_engine_for
        from artgen.jobs.batch_size import ExactBatchSize

        engine = import_engine_for(job for _, job in jobs)
        timer = GenerationTimer(self._listener)
        saved = 0
        try:
            animation = jobs[0][0].template.animation_output
            frames_settings = animation.settings if animation else None
            next_jobs = self._prepare_upcoming(upcoming, jobs[0][0].request.model)
            context = engine.GenerationContext(next_jobs, self._seconds_per_image * len(upcoming), self._oom_history)
            outcomes = engine.generate_jobs(
                [job for _, job in jobs],
                batch_size=ExactBatchSize(batch_size),
                context=context,
                frames=frames_settings,
                listener=timer,
            )
            for (job, _), outcome in zip(jobs, outcomes, strict=True):
                saved += 1
                if isinstance(outcome, engine.FailedImage):
                    self._recorder.record_failure(job, outcome.error)
                else:
                    self._pending_saves.append(
                        self._save_executor.submit(self._recorder.save, job, outcome, timer.elapsed_seconds / len(jobs))
                    )
        except (OutputError, DeviceLostError):
            raise
        except Exception as error:
            # A bug or an exception of another library that one job triggers must not stop a long batch.
            is_of_one_job = not isinstance(error, ArtgenError) or isinstance(error, PipelineError)
            if is_of_one_job and len(jobs) - saved > 1:
                for remaining in jobs[saved:]:
                    self._generate([remaining], batch_size)
            else:
                failure = error if isinstance(error, ArtgenError) else ArtgenError(f"{type(error).__name__}: {error}")
                for job, _ in jobs[saved:]:
                    self._recorder.record_failure(job, failure)
        self._seconds_per_image = timer.elapsed_seconds / len(jobs)
        return self._seconds_per_image

    def _prepare_upcoming(self, jobs: Iterable[PlannedJob], model: str | None) -> Iterator[Job]:
        """Yield the prepared upcoming jobs of a model with distinct prompts. Stop at the first invalid job."""
        seen: set[tuple[Any, ...]] = set()
        for job in jobs:
            if job.request.model != model:
                return
            prompt_key = tuple(
                getattr(job.request, name)
                for name, setting in settings_of(type(job.request)).items()
                if "prompt" in setting.affects
            )
            if prompt_key in seen:
                continue  # avoid loading the images of a job without new prompts
            seen.add(prompt_key)
            try:
                yield prepare_jobs([job.request], self._listener, self._model_cache)[0]
            except ArtgenError:
                return  # the error is reported when the job runs

    def wait_for_saves(self) -> None:
        """Wait until all images are saved.

        Raises:
            OutputError: a file cannot be written.
        """
        while self._pending_saves:
            self._pending_saves.pop(0).result()

    def _drain_saves(self, batch_size: int) -> None:
        """Raise errors of finished saves. Wait for a slow disk if too many images are in memory."""
        while self._pending_saves and (
            len(self._pending_saves) > MAX_PENDING_SAVES + batch_size or self._pending_saves[0].done()
        ):
            self._pending_saves.pop(0).result()
