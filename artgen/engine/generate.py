"""The public verbs: requests in, pictures out."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from artgen import fitting, replaying
from artgen.engine import loading, prompts, reading
from artgen.engine.batch import Progress, draw_batch
from artgen.engine.device import place
from artgen.engine.memory import is_exhaustion, is_lost, limited
from artgen.engine.outcomes import Failure, Picture
from artgen.engine.sizes import Alike, BatchSize, Exactly, Fixed, appearance, suited, wording
from artgen.engine.thrift import Learned, Thrift, resources
from artgen.errors import DeviceLostError, MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, Note, ignore
from artgen.prepare import Prepared, prepare
from artgen.requests import Denoise, FromWords, Request
from artgen.settings import Frames

__all__ = ["Failure", "Picture", "draw", "generate", "generate_all", "replay"]


def generate(request: Request, *, frames: Frames | None = None, listener: Listener = ignore) -> Picture:
    """Makes one picture.

    Args:
        request: what to make; settings left open come from the model's defaults, the seed from chance.
        frames: what to show of its making, in `Picture.frames`; where they go is the caller's.
        listener: is told of loading, steps and notes (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
        DeviceLostError: the GPU answers this process no more.
        FilteredError: the model's safety filter withheld the picture.
        NonFiniteError: the model produced NaN or infinity.
    """
    outcome = next(generate_all([request], frames=frames, listener=listener))
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def generate_all(
    requests: Sequence[Request],
    *,
    batch_size: int = 1,
    frames: Frames | None = None,
    listener: Listener = ignore,
) -> Iterator[Picture | Failure]:
    """Makes many pictures, in order; one that fails does not stop the others.

    All requests are checked before the first model loads. Neighbours that differ only in words, seed and input picture
    are drawn together, up to `batch_size` at a time; each keeps its own generator, so the pictures are those that
    single requests make (bit for bit at equal batch size, otherwise within one grey level on the CPU in fp32). Where
    fewer are left than others of their kind were drawn at a time, the rest of the batch is filled up.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
        DeviceLostError: the GPU answers this process no more.
    """
    yield from draw(prepare(requests, listener), batch_size=batch_size, frames=frames, listener=listener)


def replay(path: Path, changes: Mapping[str, str] | None = None, *, listener: Listener = ignore) -> Picture:
    """Makes a picture again from what it says of itself; the same pixels when nothing is changed.

    Args:
        path: a picture, its sidecar or A1111 text; see `artgen.replaying.plan`.
        changes: setting name -> value as one would type it.
        listener: is told of loading, steps and notes.

    Raises:
        InputFileError: nothing is recorded, or an input picture of the original cannot be found.
        ModelUnavailableError: the model is not here, or has other weights than the recorded one.
        Besides, everything that `generate` raises.
    """
    plan = replaying.plan(path, changes or {})
    for text in plan.notes:
        listener(Note(text))
    jobs = prepare([plan.request], listener)
    plan.check(jobs[0])
    outcome = next(draw(jobs, batch_size=Exactly(plan.rows), listener=listener))
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


@dataclass(frozen=True)
class Course:
    """What a process that draws in several calls knows beyond one of them.

    Attributes:
        coming: what it draws afterwards, in order; looked at only where something is made ready for it beforehand.
        seconds: how long that would take as it goes now, 0 when unknown.
        learned: what running out of memory taught, the same from call to call.
    """

    coming: Iterable[Prepared] = ()
    seconds: float = 0.0
    learned: Learned = field(default_factory=dict)


def draw(
    jobs: Sequence[Prepared],
    *,
    batch_size: int | BatchSize = 1,
    frames: Frames | None = None,
    course: Course | None = None,
    listener: Listener = ignore,
) -> Iterator[Picture | Failure]:
    """Makes the pictures of prepared jobs; see `generate_all`."""
    course = course or Course()
    sizes = Fixed(batch_size) if isinstance(batch_size, int) else batch_size
    _refuse_long(jobs)
    if frames is not None:
        for job in jobs:
            fitting.check_frames(frames, job.request, job.found)
    done, pace = 0, 0.0
    begun = end = 0  # of those that are alike
    thrift = Thrift(course.learned, listener)
    while done < len(jobs):
        if isinstance(request := jobs[done].request, Denoise):
            yield _denoised(jobs[done], request, Progress(listener, done + 1, 1, len(jobs)), frames)
            done += 1
            continue
        first = jobs[done].drawing
        if done >= end:
            begun, end = done, _end_of_alike(jobs, done)
        rows = sizes.rows(Alike(begun, end - begun, end - done, suited(jobs[done])))
        began = time.monotonic()
        placement = replace(place(first.device, first.dtype, jobs[done].model.weight_bytes()), weights=first.weights)
        economy = thrift.settle(jobs[done], rows, placement)
        rows = min(rows, economy.batch_size)
        together = jobs[done : min(end, done + rows)]
        left = course.seconds + pace * (len(jobs) - done)
        progress = Progress(listener, done + 1, len(together), len(jobs), left)
        outcomes: list[Picture | Failure] | None = None
        try:
            with limited(placement, first.memory_budget):
                if reading.is_apart(economy, placement):
                    reading.read(together, _like(jobs[done], jobs[done:], course.coming), placement, listener)
                outcomes = draw_batch(together, rows, placement, economy, progress, frames)
        except (MemoryError, RuntimeError) as error:
            _refuse_lost(error)
            if not is_exhaustion(error):
                raise
        # Out of the except block: the traceback held the tensors that filled the memory.
        if outcomes is None:
            thrift.tighten(placement, together[0], rows)
            continue
        seconds = (time.monotonic() - began) / len(together)
        sizes.learn(begun, len(together), seconds)
        pace = seconds if done else 0.0  # the first ones waited for the model
        yield from outcomes
        done += len(together)


def _denoised(job: Prepared, request: Denoise, progress: Progress, frames: Frames | None) -> Picture | Failure:
    """Denoises one picture, in smaller and smaller tiles when memory runs out."""
    from artgen.engine import denoise  # what it imports, other tasks would wait for

    placement = place(request.device, request.dtype)
    for halvings in itertools.count():
        try:
            return denoise.denoise(job, placement, progress.listener, progress.step, halvings, frames)
        except NonFiniteError as error:
            return Failure(request, error)
        except (MemoryError, RuntimeError) as error:
            _refuse_lost(error)
            if not is_exhaustion(error):
                raise
            last = request.method != "pixel" or (isinstance(error, MemoryError) and not error.args)
        loading.collect()
        if last:
            break
        progress.listener(Note("out of memory; trying again with smaller tiles"))
    raise MemoryExhaustedError(
        f"Out of memory on {placement.device} for {job.width}x{job.height}.", "Use a smaller model, or --method tv."
    )


def _refuse_lost(error: BaseException) -> None:
    """Raises DeviceLostError for what means that the GPU answers no more."""
    if is_lost(error):
        raise DeviceLostError(
            f"The GPU has stopped working for this process: {loading.first_line(error)}",
            "Run the same command again; a batch goes on with what is not drawn.",
        ) from error


def _like(first: Prepared, *jobs: Iterable[Prepared]) -> Iterator[Prepared]:
    """Those that want the same of model and machine as the first, as long as they follow each other."""
    wanted = resources(first)
    for job in itertools.chain(*jobs):
        if not isinstance(job.request, FromWords) or resources(job) != wanted:
            return
        yield job


def _end_of_alike(jobs: Sequence[Prepared], first: int) -> int:
    """Where those end that one call of a pipeline can draw together with the job of a number."""

    def shape(job: Prepared) -> tuple[Any, ...]:
        return appearance(job.request), *wording(job.request), job.size

    wanted = shape(jobs[first])
    return next((i for i in range(first + 1, len(jobs)) if shape(jobs[i]) != wanted), len(jobs))


def _refuse_long(jobs: Sequence[Prepared]) -> None:
    """Refuses, before a model loads, what `--long-prompt error` forbids."""
    for job in jobs:
        if isinstance(job.request, FromWords) and job.request.long_prompt == "error":
            prompts.refuse_long(job.model, job.request.prompt)
            prompts.refuse_long(job.model, job.request.negative_prompt)
