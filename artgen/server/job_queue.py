"""Queue the jobs of all clients, and generate their images one after another in a thread."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from artgen.errors import ArtgenError
from artgen.events import Listener
from artgen.server.log import log_exception
from artgen.server.parse_job import ParsedJob
from artgen.server.server_job import JobCanceled, JobImage, JobListener, JobState, ServerJob
from artgen.server.settings import ServerSettings
from artgen.system.counts import counted

__all__ = ["ClientQueueFull", "JobImage", "JobQueue", "QueueFull", "ServerJob"]

SHUTDOWN_SECONDS = 30.0
"""Time that `close` waits for the step of the running job."""


class QueueFull(ArtgenError):
    """Report that a job is not accepted, because the queue, or the part of one client, is full.

    Attributes:
        status: HTTP status: 429 for the limit of a client, 503 for the limits of the server.
    """

    exit_code = 75
    status = 503


class ClientQueueFull(QueueFull):
    """Report that one client has too many jobs."""

    status = 429


RunJob = Callable[[ServerJob, Listener], None]
"""Generate the images of a job and add them to it. The listener raises JobCanceled between two steps."""


class JobQueue:
    """Store the jobs of all clients. One thread generates one image at a time.

    Attributes:
        on_image: is called with the seconds of each finished image, without the loading of the model.
        on_end: is called with each job that has ended.
    """

    def __init__(self, settings: ServerSettings, run_job: RunJob | None = None) -> None:
        """Create a queue. Its thread starts with the first job, or with `preload`.

        Args:
            settings: limits of the queue and of the kept results.
            run_job: generates the images of a job; None: the engine.
        """
        self._settings = settings
        self._run_job = run_job
        self._lock = threading.Condition()
        self._waiting: deque[ServerJob] = deque()
        self._jobs: OrderedDict[str, ServerJob] = OrderedDict()
        self._current: ServerJob | None = None
        self._is_closed = False
        self._is_preload_requested = False
        self._thread: threading.Thread | None = None
        self.on_image: Callable[[float], object] = _ignore
        self.on_end: Callable[[ServerJob], object] = _ignore

    @property
    def current(self) -> ServerJob | None:
        """Return the running job, or None."""
        return self._current

    @property
    def depth(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[ServerJob, ...]:
        """Return the waiting jobs in order."""
        with self._lock:
            return tuple(self._waiting)

    @property
    def result_bytes(self) -> int:
        """Return the size of the kept images in bytes."""
        return sum(_result_bytes(job) for job in self._copy_jobs())

    @property
    def num_kept(self) -> int:
        """Return the number of known jobs: waiting, running and ended."""
        return len(self._jobs)

    def submit(self, parsed: ParsedJob, client: str) -> ServerJob:
        """Add a job.

        Args:
            parsed: result of `artgen.server.parse_job.parse_job`.
            client: address of the client, for its limit.

        Raises:
            QueueFull: the queue, the part of the client, or the memory for uploads is full, or the server is ending.
        """
        job = ServerJob(parsed, client)
        with self._lock:
            self._check_space(job)
            job.queue = self
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._start()
            self._lock.notify_all()
        return job

    def check_space(self, client: str) -> None:
        """Check before the validation of a job whether the queue has a place for it.

        Raises:
            QueueFull: see `submit`.
        """
        with self._lock:
            self._check_counts(client)

    def _check_space(self, job: ServerJob) -> None:
        self._check_counts(job.client)
        queued_bytes = sum(each.num_input_bytes for each in self._waiting)
        if queued_bytes and queued_bytes + job.num_input_bytes > self._settings.max_queued_bytes:
            raise QueueFull("Cannot queue the job: the uploads of the waiting jobs are too large.", "Try again later.")

    def _check_counts(self, client: str) -> None:
        if self._is_closed:
            raise QueueFull("Cannot queue the job: the server is ending.", "Start the server again.")
        if len(self._waiting) >= self._settings.max_queue:
            raise QueueFull(
                f"Cannot queue the job: {counted(len(self._waiting), 'job is', 'jobs are')} waiting.",
                "Try again later.",
            )
        own = sum(each.client == client for each in (*self._waiting, self._current) if each is not None)
        if own >= self._settings.max_per_client:
            jobs = counted(own, "job of this client is", "jobs of this client are")
            raise ClientQueueFull(
                f"Cannot queue the job: {jobs} waiting or running.",
                "Wait for one of them, or stop one: DELETE /api/jobs/ID",
            )

    def get(self, job_id: str) -> ServerJob | None:
        """Return a job; None if the id is unknown or the results of the job were removed."""
        return self._jobs.get(job_id)

    def position(self, job: ServerJob) -> int:
        """Return the number of jobs that run before a waiting job."""
        with self._lock:
            try:
                return self._waiting.index(job) + (self._current is not None)
            except ValueError:
                return 0

    def cancel(self, job_id: str) -> ServerJob | None:
        """Stop a job: at once if it waits, after the current step if it runs. Return None for an unknown job."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.is_ended:
                return job
            job.is_cancel_requested = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "canceled")
        return job

    def close(self, timeout: float = SHUTDOWN_SECONDS) -> bool:
        """Cancel all jobs, and wait for the end of the current step. Return false if it takes longer than `timeout`."""
        with self._lock:
            self._is_closed = True
            jobs = [*self._waiting, *([self._current] if self._current else [])]
            self._lock.notify_all()
        for job in jobs:
            self.cancel(job.id)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def preload(self) -> None:
        """Start the thread, and import the engine in it, before the first job."""
        with self._lock:
            self._start()
            self._is_preload_requested = True
            self._lock.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="artgen-server-queue", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._is_closed or self._is_preload_requested)
                job = self._current = self._waiting.popleft() if self._waiting else None
                if job is None and self._is_closed:
                    return
                self._is_preload_requested = False
            if job is None:
                self._preload()
                continue
            job.update(state="loading")
            state, error = self._generate(job)
            with self._lock:
                self._current = None
                self._end(job, state, error)

    def _preload(self) -> None:
        """Import the engine. Log an error: the thread must continue, and each job reports the error."""
        try:
            self._runner()
        except BaseException as error:
            log_exception(error)

    def _generate(self, job: ServerJob) -> tuple[JobState, ArtgenError | None]:
        """Generate the images of a job. Return its final state and its error."""
        try:
            self._runner()(job, JobListener(job))
        except JobCanceled:
            return "canceled", None
        except ArtgenError as error:
            return "failed", error
        except (
            BaseException
        ) as error:  # a bug that one job triggers must not stop the thread; also a panic of Rust code
            log_exception(error)
            return "failed", ArtgenError(f"{type(error).__name__}: {error}")
        return "done", None

    def _runner(self) -> RunJob:
        if self._run_job is None:
            from artgen.server.generation import create_runner

            self._run_job = create_runner(self._settings)
        return self._run_job

    def _end(self, job: ServerJob, state: JobState, error: ArtgenError | None = None) -> None:
        """Set the final state of a job, and remove the oldest results beyond the limits."""
        job.update(state=state, error=error, preview=None, parsed=None, num_input_bytes=0)
        self.on_end(job)
        self._jobs.move_to_end(job.id)  # ended jobs are in the order of their ends
        ended = [each for each in self._jobs.values() if each.is_ended]
        num_bytes = sum(map(_result_bytes, ended))
        for old in ended[:-1]:  # a client must be able to read the newest result
            if len(ended) <= self._settings.max_results and num_bytes <= self._settings.max_result_bytes:
                break
            num_bytes -= _result_bytes(old)
            ended.remove(old)
            del self._jobs[old.id]

    def _copy_jobs(self) -> Sequence[ServerJob]:
        with self._lock:
            return list(self._jobs.values())


def _result_bytes(job: ServerJob) -> int:
    return sum(len(image.png) for image in job.images)


def _ignore(_: object) -> None:
    """Do nothing."""
