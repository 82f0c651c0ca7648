"""Generate the images of a call of the Python API: validate all requests, then generate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from artgen.api import engine_checks
from artgen.api.arguments import take_group
from artgen.api.call import Call
from artgen.errors import ArtgenError, SomeFailedError, UsageError
from artgen.events import Listener, no_op
from artgen.jobs import checks
from artgen.jobs.batch_size import BatchSizePolicy, parse_batch_size
from artgen.jobs.job import Job
from artgen.jobs.license_notes import license_notes
from artgen.jobs.notes import job_notes
from artgen.jobs.prepare import PrepareJobs, prepare_jobs
from artgen.jobs.recorded_prompt import DROPPABLE, add_unsupported, with_recorded_prompts
from artgen.jobs.trained_words import words_note
from artgen.spec.base_requests import Request
from artgen.spec.fields import describe_value
from artgen.spec.seeds import expand_series
from artgen.spec.settings import FramesSettings, SeriesSettings, options_of
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.engine.results import GeneratedImage

BuildRequests = Callable[[dict[str, Any]], Sequence[Request]]
"""Build the requests of a call from its settings. It may change the dictionary."""


def run_series(
    call: Call, request_class: type[Request], inputs: Mapping[str, Any], convert: Callable[[dict[str, Any]], Any] = dict
) -> "GeneratedImage | list[GeneratedImage]":
    """Generate the images of a call. Return a list if the call has a list of seeds or `count`.

    Args:
        call: call with the keywords of `request_class` and of `SeriesSettings`.
        request_class: class of the requests.
        inputs: other settings: input files and the prompt.
        convert: changes the settings before the requests are built.

    Raises:
        ArtgenError: a request is invalid, or all images failed with the same kind of error.
        SomeFailedError: some images failed.
    """
    is_list = call.values.get("count") is not None or is_seed_list(call.values.get("seed"))
    variation = call.values.get("variation_seed"), call.values.get("variation_strength")
    all_seeds = expand_series(take_series(call.values), *variation, num_candidates=call.values.get("best_of"))
    batch_size = parse_batch_size(take_group(SeriesSettings, call.values).batch_size)

    def build(values: dict[str, Any]) -> Sequence[Request]:
        settings = {**inputs, **convert(values)}
        if settings.get("prompt", "") is not None or "image" not in inputs:
            return [request_class(**{**settings, **seeds}) for seeds in all_seeds]
        requests = [request_class(**{**settings, "prompt": "", **seeds}) for seeds in all_seeds]
        return with_recorded_prompts(requests, given, call.listener)

    given = set(call.values)
    images = run_call(call, build, batch_size, given=given if inputs.get("prompt", "") is None else None)
    return images if is_list or len(all_seeds) > 1 else images[0]


def run_call(
    call: Call,
    build: BuildRequests,
    batch_size: "int | BatchSizePolicy" = 1,
    check_job: Callable[[Job], None] | None = None,
    given: set[str] | None = None,
) -> "list[GeneratedImage]":
    """Build and validate the requests of a call, and generate their images. A value of a preset or of a recorded prompt
    that does not fit is ignored with a note.

    Args:
        call: the call.
        build: builds the requests.
        batch_size: images per pipeline call.
        check_job: raises an ArtgenError if a prepared job must not run.
        given: settings that are not taken from the record of an image; None if no record is used.

    Raises:
        ArtgenError, SomeFailedError: see `generate_images`.
    """
    frames = take_frames(call.values)

    def prepare(prepare_jobs: PrepareJobs, _: Listener) -> list[Job]:
        return prepare_jobs(build(dict(call.values)))

    while True:  # each repetition has one value of a preset less
        try:
            return generate_images(call, prepare, frames, batch_size, check_job)
        except ArtgenError as error:
            if given is not None and any(name in DROPPABLE and name not in given for name in error.settings):
                add_unsupported(error, given, call.listener)
            else:
                call.drop_preset_value(error)


def generate_images(
    call: Call,
    prepare: Callable[[PrepareJobs, Listener], list[Job]],
    frames: FramesSettings | None = None,
    batch_size: "int | BatchSizePolicy" = 1,
    check_job: Callable[[Job], None] | None = None,
) -> "list[GeneratedImage]":
    """Validate jobs before a model is loaded, and generate their images.

    Args:
        call: call whose notes the images get.
        prepare: converts the requests of the call to jobs.
        frames: intermediate steps to return; None: no frames.
        batch_size: images per pipeline call.
        check_job: raises an ArtgenError if a prepared job must not run.

    Raises:
        ArtgenError: a request is invalid; or all images failed with the same kind of error.
        SomeFailedError: some images failed.
    """
    from artgen.engine.lock import ENGINE_LOCK
    from artgen.engine.results import FailedImage

    listener = call.listener
    check_previews = partial(engine_checks.check_jobs, listener=no_op)
    with ENGINE_LOCK:
        jobs = prepare(partial(prepare_jobs, listener=listener, check_previews=check_previews), listener)
    for job in jobs:
        if check_job is not None:
            check_job(job)
        if frames is not None:
            checks.check_frames(frames, job)
        for text in job_notes(job):
            listener.add_note(text)
    for text in license_notes(jobs):
        listener.add_note(text)
    if text := words_note((job.request, getattr(job, "model", None)) for job in jobs):
        listener.add_note(text)
    with ENGINE_LOCK:
        from artgen.engine.select_engine import import_engine_for

        engine = import_engine_for(jobs)
    outcomes = list(engine.generate_jobs(jobs, batch_size=batch_size, frames=frames, listener=listener))
    outcomes = [each if isinstance(each, FailedImage) else _complete(each, call) for each in outcomes]
    results = [each for each in outcomes if not isinstance(each, FailedImage)]
    if errors := [each.error for each in outcomes if isinstance(each, FailedImage)]:
        raise _failure_error(outcomes, errors)
    return results


def _complete(result: "GeneratedImage", call: Call) -> "GeneratedImage":
    """Return a result with the notes of its call, and the files in memory that `replay` needs."""
    return replace(result, notes=call.notes, input_files=call.files)


def _failure_error(outcomes: Sequence[object], errors: Sequence[ArtgenError]) -> ArtgenError:
    if len(errors) == len(outcomes) and len({error.exit_code for error in errors}) == 1:
        return errors[0]
    return SomeFailedError(
        f"{len(errors):,} of {counted(len(outcomes), 'image')} failed: {errors[0].message}",
        f"{errors[0].hint} The attribute `outcomes` of this error contains the other images.".strip(),
        outcomes=tuple(outcomes),
    )


def take_frames(values: dict[str, Any]) -> FramesSettings | None:
    """Remove the settings of the intermediate steps from converted keywords. Return None without frames.

    Raises:
        UsageError: settings of frames are used without frames, or a value is invalid.
    """
    is_on = values.pop("frames", False)
    if not isinstance(is_on, bool):
        raise UsageError(
            f"frames must be True or False, not {describe_value(is_on)}.",
            "The images of the steps are in the attribute `frames` of the result.",
        )
    names = [name for name in options_of(FramesSettings) if name in values]
    frames = take_group(FramesSettings, values)
    if not is_on and frames != FramesSettings():
        raise UsageError(f"{names[0]} needs frames.", "Add frames=True.")
    return frames if is_on else None


def is_seed_list(seed: Any) -> bool:
    """Return whether a seed is a list of seeds, not a number or a text."""
    return isinstance(seed, Sequence) and not isinstance(seed, str | bytes | bytearray)


def take_series(values: dict[str, Any]) -> SeriesSettings:
    """Remove the seeds and the number of images from converted keywords.

    Raises:
        UsageError: a value is invalid.
    """
    seed, count = values.pop("seed", None), values.pop("count", None)
    seeds = list(seed) if is_seed_list(seed) else [seed]
    is_number = all(isinstance(item, int) and not isinstance(item, bool) for item in seeds)
    if seed is not None and not (seeds and (is_number or isinstance(seed, str))):
        raise UsageError(f"seed must be a whole number or a list of whole numbers, not {describe_value(seed)}.")
    text = None if seed is None else ",".join(map(str, seeds))
    return take_group(SeriesSettings, {"seed": text} | ({} if count is None else {"count": count}))
