"""Generate images from requests: the public functions of the engine.

The functions are thread-safe. Calls from several threads run one after another; see `artgen.engine.lock`.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from artgen.engine.batch_runner import BatchRunner
from artgen.engine.best_of import generate_best, has_candidates
from artgen.engine.check_requests import check_jobs
from artgen.engine.generation_context import GenerationContext
from artgen.engine.generation_timer import GenerationTimer
from artgen.engine.image_filters import filter_outcome, without_previews, without_refused
from artgen.engine.loading import loaded_models
from artgen.engine.loading.device import resolve_device
from artgen.engine.loading.free_memory import retry_without_idle_models
from artgen.engine.loading.oom import is_oom, raise_if_device_lost
from artgen.engine.lock import ENGINE_LOCK
from artgen.engine.results import FailedImage, GeneratedImage, wrong_size_error
from artgen.engine.sampling.outcomes import unchanged_image
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.errors import MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import checks
from artgen.jobs.batch_size import BatchSizePolicy, MaxBatchSize
from artgen.jobs.job import DenoiseJob, GenerationJob, Job, UpscaleJob
from artgen.jobs.notes import job_notes
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.base_requests import Request
from artgen.spec.settings import FramesSettings

__all__ = ["FailedImage", "GeneratedImage", "GenerationContext", "generate", "generate_all", "generate_jobs"]


def generate(request: Request, *, frames: FramesSettings | None = None, listener: Listener = no_op) -> GeneratedImage:
    """Generate one image.

    Args:
        request: The image to generate. Unset settings get the defaults of the model; an unset seed is random.
        frames: Intermediate steps to return in `GeneratedImage.frames`. None: no frames.
        listener: Receives the events of `artgen.events`: loading, steps and notes.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: The request is invalid. Raised before a model
            is loaded.
        MemoryExhaustedError: Out of memory after every fallback.
        DeviceLostError: The GPU is lost for this process.
        FilteredError: A filter or the safety checker of the model refused the image.
        NonFiniteError: The model produced NaN or infinity.
        WrongSizeError: The model produced an image of another size.
    """
    return _image_or_raise(next(generate_all([request], frames=frames, listener=listener)))


def generate_all(
    requests: Sequence[Request],
    *,
    batch_size: int = 1,
    frames: FramesSettings | None = None,
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Generate images in the order of the requests. A failed image does not stop the others.

    All requests are validated before a model is loaded. Consecutive requests that differ only in prompt, seed and
    input image share a pipeline call. Each image has its own random generator, so the images equal the images of single
    requests: bit-identical for the same batch size, otherwise within one gray level on the CPU in fp32. An incomplete
    batch is padded, so that all images of a group have the same batch size.

    Args:
        requests: The images to generate.
        batch_size: Largest number of images per pipeline call, 1 to 256.
        frames: See `generate`.
        listener: See `generate`.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: A request is invalid. Raised before a model
            is loaded.
        MemoryExhaustedError: Out of memory after every fallback.
        DeviceLostError: The GPU is lost for this process.
    """
    with ENGINE_LOCK:
        jobs = prepare_jobs(requests, listener, check_previews=check_jobs)
    for note in dict.fromkeys(note for job in jobs for note in job_notes(job)):
        listener(Notice(note))
    yield from generate_jobs(jobs, batch_size=batch_size, frames=frames, listener=listener)


def _image_or_raise(outcome: GeneratedImage | FailedImage) -> GeneratedImage:
    if isinstance(outcome, FailedImage):
        raise outcome.error
    return outcome


def generate_jobs(
    jobs: Sequence[Job],
    *,
    first: int = 0,
    batch_size: int | BatchSizePolicy = 1,
    frames: FramesSettings | None = None,
    context: GenerationContext | None = None,
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Generate the images of prepared jobs, in order. See `generate_all`.

    Args:
        jobs: Jobs of `artgen.jobs.prepare.prepare_jobs`.
        first: Index of the first job to run. The number of images per pipeline call depends on all jobs.
        batch_size: Largest number of images per pipeline call, or a policy that selects the number.
        frames: See `generate`.
        context: State shared with other calls. None: this call is the only one.
        listener: See `generate`.

    Raises:
        UsageError: A prompt is too long for `--long-prompt error`, or a job supports no frames.
        ModelUnavailableError: A model cannot be loaded.
        MemoryExhaustedError: Out of memory after every fallback.
        DeviceLostError: The GPU is lost for this process.
    """
    batch_size_policy = MaxBatchSize(batch_size) if isinstance(batch_size, int) else batch_size
    with ENGINE_LOCK:
        check_jobs(jobs)
    if frames is not None:
        for job in jobs:
            checks.check_frames(frames, job)
    used_context = without_previews(context or GenerationContext(), jobs, listener)
    timer = GenerationTimer(listener)

    def run(candidates: Sequence[Job], start: int) -> Iterator[GeneratedImage | FailedImage]:
        runner = BatchRunner(candidates, batch_size_policy, frames, used_context, timer)
        return _run_batches(candidates, start, runner, frames, timer)

    def run_allowed(allowed: Sequence[Job], start: int) -> Iterator[GeneratedImage | FailedImage]:
        return generate_best(allowed, start, run, listener) if has_candidates(allowed) else run(allowed, start)

    yield from without_refused(jobs, first, run_allowed)


def _run_batches(
    jobs: Sequence[Job], start: int, runner: BatchRunner, frames: FramesSettings | None, timer: GenerationTimer
) -> Iterator[GeneratedImage | FailedImage]:
    """Generate the images of jobs, from the job with the index `start`."""
    while start < len(jobs):
        job = jobs[start]
        timer.restart()
        with ENGINE_LOCK, loaded_models.unloaded_after_error():
            if isinstance(job, DenoiseJob):
                outcomes = [_denoise_job(job, ProgressReporter(timer, start + 1, 1, len(jobs)), frames)]
            elif isinstance(job, UpscaleJob):
                from artgen.engine.upscaling.upscale import upscale  # not needed by the other tasks

                progress = ProgressReporter(timer, start + 1, 1, len(jobs))
                outcomes = [upscale(job, progress, runner.context)]
            elif isinstance(job, GenerationJob) and job.strength == 0:
                outcomes = [unchanged_image(job, with_frames=frames is not None)]
            else:
                outcomes = runner.run_next_batch(start)
            outcomes = [filter_outcome(*pair, timer) for pair in zip(jobs[start:], outcomes, strict=False)]
        seconds = timer.elapsed_seconds / len(outcomes)
        for each, outcome in zip(jobs[start:], outcomes, strict=False):
            yield _check_outcome(each, outcome, seconds)
        start += len(outcomes)


def _check_outcome(job: Job, outcome: GeneratedImage | FailedImage, seconds: float) -> GeneratedImage | FailedImage:
    """Return the outcome with its duration, or a failure if the image or a frame has another size than the job."""
    if isinstance(outcome, FailedImage):
        return outcome
    images = (outcome.image, outcome.low_bytes, *outcome.frames)
    wrong = next((image.size for image in images if image is not None and image.size != job.size), None)
    return (
        replace(outcome, seconds=seconds)
        if wrong is None
        else FailedImage(outcome.request, wrong_size_error(wrong, job.size))
    )


def _denoise_job(
    job: DenoiseJob, progress: ProgressReporter, frames: FramesSettings | None
) -> GeneratedImage | FailedImage:
    """Denoise one image. Halve the tile size after each out-of-memory error."""
    # Imported here because the other tasks do not need the packages that this module imports.
    from artgen.engine.denoise import denoise

    request = job.request
    device_config = resolve_device(request.device, request.dtype)
    for halvings in itertools.count():
        try:
            arguments = (job, device_config, progress.listener, progress.on_step, halvings, frames)
            return retry_without_idle_models(functools.partial(denoise.denoise, *arguments))
        except NonFiniteError as error:
            return FailedImage(request, error)
        except (MemoryError, RuntimeError) as error:
            raise_if_device_lost(error)
            if not is_oom(error):
                raise
            # A MemoryError without a message means that the tiles cannot become smaller.
            is_last = request.method != "pixel" or (isinstance(error, MemoryError) and not error.args)
        loaded_models.empty_device_cache()
        if is_last:
            break
        progress.listener(Notice("Out of memory. Retrying with smaller tiles."))
    raise MemoryExhaustedError(
        f"Cannot denoise {job.width}x{job.height} on {device_config.device}: out of memory.",
        "Use a smaller model, or --method tv.",
    )
