"""Draws jobs in this process: claims them, draws them together, saves and notes them while the next are drawn."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.batch.claims import Claims
from artgen.batch.ledger import Ledger, Record, failure, now
from artgen.batch.plan import Job
from artgen.batch.results import Result
from artgen.errors import ArtgenError, DeviceLostError, OutputError
from artgen.events import Event, Listener, Loading, Step, ignore
from artgen.prepare import Models, Prepared, prepare

if TYPE_CHECKING:
    from artgen.engine.thrift import Learned

WAITING = 4
"""Pictures that may wait to be saved while others are drawn, besides those of one device batch."""

WORDS = ("prompt", "negative_prompt", "guidance_scale", "long_prompt", "fast")
"""Settings that tell whether a job has anything to read that another has not."""


class Drawer:
    """A context manager; on leaving, what was drawn is on the disk."""

    def __init__(
        self,
        ledger: Ledger,
        claims: Claims,
        report: Callable[[Result], None],
        listener: Listener = ignore,
        learned: "Learned | None" = None,
    ) -> None:
        """`report` is told of each job's end, from another thread; `learned` is that of an earlier one's drawing."""
        self._ledger = ledger
        self._claims = claims
        self._report = report
        self._listener = listener
        self._models = Models()
        self._saver = ThreadPoolExecutor(1, "artgen-saver")
        self._saving: list[Future[None]] = []
        self._pace = 0.0
        self._learned: Learned = {} if learned is None else learned

    def __enter__(self) -> "Drawer":
        return self

    def __exit__(self, *_: object) -> None:
        self._saver.shutdown(wait=True)
        for future in self._saving:
            future.result()

    def draw(self, jobs: Sequence[Job], rows: int, coming: Sequence[Job] = ()) -> float | None:
        """Draws jobs of one shape together; returns seconds a picture once loaded, None when none was drawn.

        A job that fails is noted and reported; the others go on. `rows` are those of the device batch, `coming`
        are the jobs that this process draws after them.

        Raises:
            OutputError: something could not be written; no further picture could be either.
            DeviceLostError: this process can draw no more; what it had is open still.
        """
        self._catch_up(rows)
        mine = self._claimed(jobs)
        prepared: list[tuple[Job, Prepared]] = []
        for job in mine:
            try:
                prepared.append((job, prepare([job.request], self._listener, self._models)[0]))
            except ArtgenError as error:
                self._fail(job, error)
        return self._draw(prepared, rows, coming) if prepared else None

    def _claimed(self, jobs: Sequence[Job]) -> list[Job]:
        mine = [job for job in jobs if self._claims.take(job.key)]
        self._ledger.refresh()  # somebody may have finished one just before it was claimed
        open_ = [job for job in mine if not self._ledger.done(job.key)]
        for job in jobs:
            if job not in open_:
                if job in mine:
                    self._claims.drop(job.key)
                self._report(Result(job.key, self._ledger.done(job.key)))
        return open_

    def _draw(self, jobs: list[tuple[Job, Prepared]], rows: int, coming: Sequence[Job] = ()) -> float | None:
        from artgen.engine import starting

        starting.start()
        from artgen.engine import generate
        from artgen.engine.sizes import Exactly

        clock = _Clock(self._listener)
        saved = 0
        try:
            reel = jobs[0][0].shape.reel
            shown = reel.frames if reel else None
            later = self._made_ready(coming, jobs[0][0].request.model)
            course = generate.Course(later, self._pace * len(coming), self._learned)
            outcomes = generate.draw(
                [p for _, p in jobs], batch_size=Exactly(rows), course=course, frames=shown, listener=clock
            )
            for (job, _), outcome in zip(jobs, outcomes, strict=True):
                saved += 1
                if isinstance(outcome, generate.Failure):
                    self._fail(job, outcome.error)
                else:
                    self._saving.append(self._saver.submit(self._save, job, outcome, clock.seconds / len(jobs)))
        except (OutputError, DeviceLostError):
            raise
        except ArtgenError as error:
            for job, _ in jobs[saved:]:
                self._fail(job, error)
        except Exception as error:
            # A job that trips over a bug must not take the night's work with it.
            if len(jobs) - saved > 1:
                for each in jobs[saved:]:
                    self._draw([each], rows)
            else:
                self._fail(jobs[saved][0], ArtgenError(f"{type(error).__name__}: {error}"))
        self._pace = clock.seconds / len(jobs)
        return self._pace

    def _made_ready(self, jobs: Iterable[Job], model: str | None) -> Iterator[Prepared]:
        """Jobs for a model as they are when their turn comes, one of each wording, up to one that cannot be drawn."""
        seen: set[tuple[Any, ...]] = set()
        for job in jobs:
            if job.request.model != model:
                return
            words = tuple(getattr(job.request, name, None) for name in WORDS)
            if words in seen:
                continue  # to make it ready would read its pictures for nothing
            seen.add(words)
            try:
                yield prepare([job.request], self._listener, self._models)[0]
            except ArtgenError:
                return  # it is told of in its turn

    def _save(self, job: Job, picture: Any, seconds: float) -> None:
        written = Record("done")
        shown: dict[str, str] = {}

        def announce(path: Path, data: bytes) -> None:
            nonlocal written
            if job.shape.reel is not None and not written.file:  # before the picture counts as done
                shown["frames"] = str(job.shape.reel.save(picture.frames, picture.record, path, job.number))
            file = path.relative_to(self._ledger.folder).as_posix()
            written = Record("done", file, hashlib.sha256(data).hexdigest(), round(seconds, 3), job.where, time=now())
            self._ledger.write(job.key, written)

        try:
            job.shape.destination.save(
                picture.image, picture.record, index=job.number, announce=announce, low=picture.low
            )
        finally:
            self._claims.drop(job.key)
        self._report(Result(job.key, written, {**picture.record, **shown}))

    def _fail(self, job: Job, error: ArtgenError) -> None:
        record = failure(job.where, error)
        self._ledger.write(job.key, record)
        self._claims.drop(job.key)
        self._report(Result(job.key, record, message=f"{error.message}\n{error.hint}".strip()))

    def _catch_up(self, rows: int) -> None:
        """Raises what failed in saving; waits where a slow disk would let pictures pile up in memory."""
        while self._saving and (len(self._saving) > WAITING + rows or self._saving[0].done()):
            self._saving.pop(0).result()


class _Clock:
    """Counts the seconds of drawing: loading a model says nothing about the next picture."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._begun = time.monotonic()
        self._loading = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Loading):
            self._loading = True
        elif isinstance(event, Step) and self._loading:
            self._begun, self._loading = time.monotonic(), False
        self._listener(event)

    @property
    def seconds(self) -> float:
        """Since the beginning, or since the first step after a model was loaded."""
        return time.monotonic() - self._begun
