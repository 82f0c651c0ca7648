"""Run the requests of a function of the Python API: validate all, then generate, with notes and progress."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from artgen.api import engine_checks
from artgen.api.arguments import take_group
from artgen.api.progress import call_listener
from artgen.errors import ArtgenError, SomeFailedError, UsageError
from artgen.events import Listener, no_op
from artgen.jobs import checks
from artgen.jobs.batch_size import BatchSizePolicy, parse_batch_size
from artgen.jobs.job import Job
from artgen.jobs.notes import job_notes
from artgen.jobs.prepare import PrepareJobs, prepare_jobs
from artgen.jobs.trained_words import words_note
from artgen.spec.base_requests import Request
from artgen.spec.fields import describe_value
from artgen.spec.seeds import expand_seeds
from artgen.spec.settings import FramesSettings, SeriesSettings, options_of
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.engine.results import GeneratedImage

PrepareAll = Callable[[PrepareJobs, Listener], list[Job]]
"""Convert the requests of a call to jobs."""


def run_series(request_class: type[Request], values: dict[str, Any]) -> "GeneratedImage | list[GeneratedImage]":
    """Generate the images of a call. Return a list if the call has a sequence of seeds or `count`.

    Args:
        request_class: class of the requests.
        values: converted keywords, see `artgen.api.arguments.read_keywords`, and input files.

    Raises:
        ArtgenError: a request is invalid, or an image failed.
    """
    is_list = values.get("count") is not None or _is_sequence(values.get("seed"))
    series = _take_series(values)
    options = CallOptions.take(values)
    requests = [request_class(**values, seed=seed) for seed in expand_seeds(series)]
    batch_size = parse_batch_size(series.batch_size)
    images = run_requests(lambda prepare, _: prepare(requests), options, batch_size)
    return images if is_list else images[0]


@dataclasses.dataclass(frozen=True)
class CallOptions:
    """Store the keywords of a call that are not settings of its requests.

    Attributes:
        progress: show a progress bar; None: only in a notebook.
        listener: function that receives all events.
        frames: intermediate steps to return; None: no frames.
    """

    progress: bool | None = None
    listener: Listener | None = None
    frames: FramesSettings | None = None

    @classmethod
    def take(cls, values: dict[str, Any]) -> "CallOptions":
        """Remove these keywords from the converted keywords of a call.

        Raises:
            UsageError: settings of frames are used without frames, or a value is invalid.
        """
        is_on = values.pop("frames", False)
        if not isinstance(is_on, bool):
            raise UsageError(f"frames must be True or False, not {describe_value(is_on)}.", "Save result.frames.")
        unused = [name for name in options_of(FramesSettings) if name in values]
        frames = take_group(FramesSettings, values)
        if not is_on and frames != FramesSettings():
            raise UsageError(f"{unused[0]} needs frames.", "Add frames=True.")
        return cls(values.pop("progress", None), values.pop("listener", None), frames if is_on else None)


def run_requests(
    prepare_all: PrepareAll,
    options: CallOptions,
    batch_size: "int | BatchSizePolicy" = 1,
    check_job: Callable[[Job], None] | None = None,
) -> "list[GeneratedImage]":
    """Validate all requests before a model is loaded, and generate their images.

    Args:
        prepare_all: converts the requests to jobs.
        options: keywords of the call.
        batch_size: images per pipeline call.
        check_job: raises an ArtgenError if a prepared job must not run.

    Raises:
        ArtgenError: a request is invalid; or all images failed with the same kind of error.
        SomeFailedError: some images failed.
    """
    from artgen.engine.lock import ENGINE_LOCK
    from artgen.engine.results import FailedImage

    with call_listener(options.progress, options.listener) as listener:
        prepare = partial(
            prepare_jobs, listener=listener, check_previews=partial(engine_checks.check_jobs, listener=no_op)
        )
        with ENGINE_LOCK:
            jobs = prepare_all(prepare, listener)
        for job in jobs:
            if check_job is not None:
                check_job(job)
            if options.frames is not None:
                checks.check_frames(options.frames, job)
            for text in job_notes(job):
                listener.add_note(text)
        if text := words_note((job.request, getattr(job, "model", None)) for job in jobs):
            listener.add_note(text)
        with ENGINE_LOCK:
            from artgen.engine import fast_import

            engine: Any = fast_import.import_engine()
        outcomes = list(engine.generate_jobs(jobs, batch_size=batch_size, frames=options.frames, listener=listener))
        notes = tuple(listener.notes)
    outcomes = [each if isinstance(each, FailedImage) else each.with_notes(notes) for each in outcomes]
    results = [each for each in outcomes if not isinstance(each, FailedImage)]
    if errors := [each.error for each in outcomes if isinstance(each, FailedImage)]:
        raise _failure_error(outcomes, errors)
    return results


def _failure_error(outcomes: Sequence[object], errors: Sequence[ArtgenError]) -> ArtgenError:
    if len(errors) == len(outcomes) and len({error.exit_code for error in errors}) == 1:
        return errors[0]
    return SomeFailedError(
        f"{len(errors):,} of {counted(len(outcomes), 'image')} failed: {errors[0].message}",
        f"{errors[0].hint} The attribute `outcomes` of this error contains the other images.".strip(),
        outcomes=tuple(outcomes),
    )


def _is_sequence(seed: Any) -> bool:
    return isinstance(seed, Sequence) and not isinstance(seed, str)


def _take_series(values: dict[str, Any]) -> SeriesSettings:
    """Remove the seeds, the number of images and the batch size from converted keywords.

    Raises:
        UsageError: a value is invalid.
    """
    seed = values.get("seed")
    if _is_sequence(seed):
        if not seed or not all(isinstance(item, int) and not isinstance(item, bool) for item in seed):
            raise UsageError(f"seed must be a list of whole numbers, not {describe_value(seed)}.")
        values["seed"] = ",".join(map(str, seed))
    elif isinstance(seed, int) and not isinstance(seed, bool):
        values["seed"] = str(seed)
    elif seed is not None and not isinstance(seed, str):
        raise UsageError(f"seed must be a whole number or a list of whole numbers, not {describe_value(seed)}.")
    if values.get("count", ...) is None:
        del values["count"]
    return take_group(SeriesSettings, values)
