"""Generate images from requests: the public functions of the engine."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.loading.oom import is_device_lost, is_oom
from artgen.engine.memory_policy import MemoryPolicy, MemorySettings, OomHistory, memory_limit, resource_key
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import prompts, text_encoder_offload
from artgen.engine.sampling.pipeline_call import ProgressReporter, run_pipeline
from artgen.errors import DeviceLostError, MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import checks
from artgen.jobs import replay as replay_jobs
from artgen.jobs.batch_size import (
    BatchSizePolicy,
    ExactBatchSize,
    JobGroup,
    MaxBatchSize,
    default_batch_size,
)
from artgen.jobs.job import DenoiseJob, GenerationJob, Job
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.requests import Request
from artgen.spec.settings import MAX_BATCH_SIZE, FramesSettings

__all__ = ["FailedImage", "GeneratedImage", "generate", "generate_all", "generate_jobs", "replay"]


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
        FilteredError: The safety filter of the model withheld the image.
        NonFiniteError: The model produced NaN or infinity.
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
    yield from generate_jobs(prepare_jobs(requests, listener), batch_size=batch_size, frames=frames, listener=listener)


def replay(path: Path, changes: Mapping[str, str] | None = None, *, listener: Listener = no_op) -> GeneratedImage:
    """Generate an image again from its metadata. Without changes the pixels are identical.

    Args:
        path: An image, its sidecar file or a text in A1111 format. See `artgen.jobs.replay.read_replay_spec`.
        changes: Settings to change: setting name -> value as typed on the command line.
        listener: See `generate`.

    Raises:
        InputFileError: The file contains no metadata, or an input image of the original is missing.
        ModelUnavailableError: The model is unavailable, or its weights differ from the recorded ones.
        MemoryExhaustedError, DeviceLostError, FilteredError, NonFiniteError, UsageError, RefusedError: See `generate`.
    """
    spec = replay_jobs.read_replay_spec(path, changes or {})
    for text in spec.notes:
        listener(Notice(text))
    jobs = prepare_jobs([spec.request], listener)
    spec.check_job(jobs[0])
    return _image_or_raise(next(generate_jobs(jobs, batch_size=ExactBatchSize(spec.batch_size), listener=listener)))


def _image_or_raise(outcome: GeneratedImage | FailedImage) -> GeneratedImage:
    if isinstance(outcome, FailedImage):
        raise outcome.error
    return outcome


@dataclass(frozen=True)
class GenerationContext:
    """Store the state shared by consecutive `generate_jobs` calls of a process.

    Attributes:
        upcoming: Jobs of later calls, in order. Iterated only to encode their prompts in advance.
        remaining_seconds: Estimated duration of the later calls in seconds. 0: unknown.
        oom_history: Results of out-of-memory errors. The calls share and update this dictionary.
    """

    upcoming: Iterable[Job] = ()
    remaining_seconds: float = 0.0
    oom_history: OomHistory = field(default_factory=dict)


def generate_jobs(
    jobs: Sequence[Job],
    *,
    batch_size: int | BatchSizePolicy = 1,
    frames: FramesSettings | None = None,
    context: GenerationContext | None = None,
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Generate the images of prepared jobs, in order. See `generate_all`.

    Args:
        jobs: Jobs of `artgen.jobs.prepare.prepare_jobs`.
        batch_size: Largest number of images per pipeline call, or a policy that selects the number.
        frames: See `generate`.
        context: State shared with other calls. None: this call is the only one.
        listener: See `generate`.

    Raises:
        UsageError: A prompt is too long for `--long-prompt error`, or a job supports no frames.
        MemoryExhaustedError: Out of memory after every fallback.
        DeviceLostError: The GPU is lost for this process.
    """
    batch_size_policy = MaxBatchSize(batch_size) if isinstance(batch_size, int) else batch_size
    _reject_long_prompts(jobs)
    if frames is not None:
        for job in jobs:
            checks.check_frames(frames, job)
    runner = _BatchRunner(jobs, batch_size_policy, frames, context or GenerationContext(), listener)
    start = 0
    while start < len(jobs):
        job = jobs[start]
        if isinstance(job, DenoiseJob):
            outcomes = [_denoise_job(job, ProgressReporter(listener, start + 1, 1, len(jobs)), frames)]
        else:
            outcomes = runner.run_next_batch(start)
        yield from outcomes
        start += len(outcomes)


class _BatchRunner:
    """Run the pipeline calls of a list of jobs.

    A group is a range of consecutive jobs that can share a pipeline call. One pipeline call generates a batch: the
    next jobs of a group.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        batch_size_policy: BatchSizePolicy,
        frames: FramesSettings | None,
        context: GenerationContext,
        listener: Listener,
    ) -> None:
        self._jobs = jobs
        self._batch_size_policy = batch_size_policy
        self._frames = frames
        self._context = context
        self._listener = listener
        self._memory_policy = MemoryPolicy(context.oom_history, listener)
        self._group_start = self._group_end = 0
        self._seconds_per_image = 0.0  # 0: unknown

    def run_next_batch(self, start: int) -> list[GeneratedImage | FailedImage]:
        """Generate the images of the batch that begins with job `start`. Retry with less memory if necessary."""
        if start >= self._group_end:
            self._group_start, self._group_end = start, _group_end(self._jobs, start)
        # A group contains only generation jobs, because the group key contains the request.
        end = min(self._group_end, start + MAX_BATCH_SIZE)
        group = [job for job in self._jobs[start:end] if isinstance(job, GenerationJob)]
        job = group[0]
        while True:
            start_time = time.monotonic()
            batch_size = self._next_batch_size(start)
            device_config = _device_config(job)
            memory_settings = self._memory_policy.settings_for(job, batch_size, device_config)
            batch_size = min(batch_size, memory_settings.batch_size)
            batch = group[:batch_size]
            outcomes = self._try_batch(start, batch, batch_size, device_config, memory_settings)
            if outcomes is not None:
                break
            self._memory_policy.degrade(device_config, job, batch_size)
        seconds_per_image = (time.monotonic() - start_time) / len(batch)
        self._batch_size_policy.record_timing(self._group_start, len(batch), seconds_per_image)
        # The first batch includes the time to load the model.
        self._seconds_per_image = seconds_per_image if start else 0.0
        return outcomes

    def _next_batch_size(self, start: int) -> int:
        total, remaining = self._group_end - self._group_start, self._group_end - start
        group = JobGroup(self._group_start, total, remaining, default_batch_size(self._jobs[start]))
        return self._batch_size_policy.next_batch_size(group)

    def _try_batch(
        self,
        start: int,
        batch: Sequence[GenerationJob],
        batch_size: int,
        device_config: DeviceConfig,
        memory_settings: MemorySettings,
    ) -> list[GeneratedImage | FailedImage] | None:
        """Run the pipeline once. Return None if memory ran out.

        The caller retries after this method has returned: until then the traceback holds the tensors of the call.
        """
        remaining_seconds = self._context.remaining_seconds + self._seconds_per_image * (len(self._jobs) - start)
        progress = ProgressReporter(self._listener, start + 1, len(batch), len(self._jobs), remaining_seconds)
        try:
            with memory_limit(device_config, batch[0].request.memory_budget):
                if text_encoder_offload.encodes_prompts_first(memory_settings, device_config):
                    upcoming = _same_resources(batch[0], self._jobs[start:], self._context.upcoming)
                    text_encoder_offload.encode_prompts(batch, upcoming, device_config, self._listener)
                return run_pipeline(batch, batch_size, device_config, memory_settings, progress, self._frames)
        except (MemoryError, RuntimeError) as error:
            _raise_if_device_lost(error)
            if not is_oom(error):
                raise
        return None


def _device_config(job: GenerationJob) -> DeviceConfig:
    request = job.request
    config = resolve_device(request.device, request.dtype, job.model.weight_bytes())
    return replace(config, quantize=request.quantize)


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
            return denoise.denoise(job, device_config, progress.listener, progress.on_step, halvings, frames)
        except NonFiniteError as error:
            return FailedImage(request, error)
        except (MemoryError, RuntimeError) as error:
            _raise_if_device_lost(error)
            if not is_oom(error):
                raise
            # A MemoryError without a message means that the tiles cannot become smaller.
            is_last = request.method != "pixel" or (isinstance(error, MemoryError) and not error.args)
        pipeline_cache.empty_cuda_cache()
        if is_last:
            break
        progress.listener(Notice("Out of memory. Retrying with smaller tiles."))
    raise MemoryExhaustedError(
        f"Cannot denoise {job.width}x{job.height} on {device_config.device}: out of memory.",
        "Use a smaller model, or --method tv.",
    )


def _raise_if_device_lost(error: BaseException) -> None:
    """Raise DeviceLostError if `error` means that the GPU is lost for this process."""
    if is_device_lost(error):
        raise DeviceLostError(
            f"The GPU is lost for this process: {pipeline_cache.first_line(error)}",
            "Run the same command again. A batch continues with the missing images.",
        ) from error


def _same_resources(first: GenerationJob, *jobs: Iterable[Job]) -> Iterator[GenerationJob]:
    """Yield jobs until one needs another model, device or memory setting than `first`."""
    key = resource_key(first)
    for job in itertools.chain(*jobs):
        if not isinstance(job, GenerationJob) or resource_key(job) != key:
            return
        yield job


def _group_end(jobs: Sequence[Job], start: int) -> int:
    """Return the index after the last consecutive job that can share a pipeline call with job `start`."""
    key = jobs[start].group_key
    return next((i for i in range(start + 1, len(jobs)) if jobs[i].group_key != key), len(jobs))


def _reject_long_prompts(jobs: Sequence[Job]) -> None:
    """Raise UsageError if `--long-prompt error` forbids a prompt. Runs before a model is loaded."""
    for job in jobs:
        if isinstance(job, GenerationJob) and job.request.long_prompt == "error":
            prompts.reject_long(job.model, job.request.prompt)
            prompts.reject_long(job.model, job.request.negative_prompt)
