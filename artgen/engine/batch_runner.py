"""Run the pipeline calls of a list of generation jobs: select the batch size and the memory settings of each call."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from artgen.engine.derived_inputs import complete_inputs
from artgen.engine.generation_context import GenerationContext
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.loading.free_memory import memory_limit
from artgen.engine.loading.oom import is_oom, raise_if_device_lost
from artgen.engine.memory_policy import MemoryPolicy, resource_key
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import text_encoder_offload, unconditional
from artgen.engine.sampling.hires import prompt_jobs
from artgen.engine.sampling.inversion import source_jobs, uses_inversion
from artgen.engine.sampling.passes import run_passes
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.errors import InputFileError, OutputError, UsageError
from artgen.events import Listener
from artgen.jobs.batch_size import BatchSizePolicy, JobGroup, default_batch_size
from artgen.jobs.job import GenerationJob, Job, PipelineJob, SampleJob
from artgen.spec.settings import MAX_BATCH_SIZE, FramesSettings


class BatchRunner:
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

    @property
    def context(self) -> GenerationContext:
        """Return the state shared with other calls."""
        return self._context

    def run_next_batch(self, start: int) -> list[GeneratedImage | FailedImage]:
        """Generate the images of the batch that begins with job `start`. Retry with less memory if necessary."""
        if start >= self._group_end:
            self._group_start, self._group_end = _group_start(self._jobs, start), _group_end(self._jobs, start)
        # A group contains only generation jobs, because the group key contains the request.
        end = min(self._group_end, start + MAX_BATCH_SIZE)
        group = [job for job in self._jobs[start:end] if isinstance(job, PipelineJob)]
        job = group[0]
        while True:
            start_time = time.monotonic()
            batch_size = min(self._next_batch_size(start), job.max_batch_size)
            device_config = device_config_of(job)
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
        batch: Sequence[PipelineJob],
        batch_size: int,
        device_config: DeviceConfig,
        memory_settings: MemorySettings,
    ) -> list[GeneratedImage | FailedImage] | None:
        """Run the pipeline once. Return None if memory ran out.

        The caller retries after this method has returned: until then the traceback holds the tensors of the call.
        """
        remaining_seconds = self._context.remaining_seconds + self._seconds_per_image * (len(self._jobs) - start)
        progress = ProgressReporter(
            self._listener,
            start + 1,
            len(batch),
            len(self._jobs),
            remaining_seconds,
            previews=self._context.previews,
        )
        try:
            with memory_limit(device_config, batch[0].request.memory_budget):
                samples = [job for job in batch if isinstance(job, SampleJob)]
                if samples:
                    return unconditional.run_pipeline(
                        samples, batch_size, device_config, memory_settings, progress, self._frames
                    )
                outcomes = [self._complete(job, device_config) for job in batch if isinstance(job, GenerationJob)]
                prompted = [job for job in outcomes if isinstance(job, GenerationJob)]
                if not prompted:
                    return [each for each in outcomes if isinstance(each, FailedImage)]
                if text_encoder_offload.encodes_prompts_first(memory_settings, device_config):
                    upcoming = _same_resources(prompted[0], self._jobs[start:], self._context.upcoming)
                    sources = source_jobs(prompted) if uses_inversion(prompted[0]) else []
                    sources += prompt_jobs(prompted) if prompted[0].hires else []
                    encoded = [*prompted, *sources]
                    text_encoder_offload.encode_prompts(encoded, upcoming, device_config, self._listener)
                generated = iter(
                    run_passes(prompted, batch_size, device_config, memory_settings, progress, self._frames)
                )
                return [each if isinstance(each, FailedImage) else next(generated) for each in outcomes]
        except (MemoryError, RuntimeError) as error:
            raise_if_device_lost(error)
            if not is_oom(error):
                raise
        return None

    def _complete(self, job: GenerationJob, device_config: DeviceConfig) -> GenerationJob | FailedImage:
        """Return the job with all inputs, or the failure of this image."""
        try:
            return complete_inputs(job, device_config, self._listener)
        except (InputFileError, OutputError, UsageError) as error:
            return FailedImage(job.request, error)


def device_config_of(job: PipelineJob) -> DeviceConfig:
    """Return the device and the precision of a job."""
    request = job.request
    if isinstance(job, SampleJob):
        return unconditional.resolve_device_config(job)
    config = resolve_device(
        request.device,
        request.dtype,
        job.model.weight_bytes(),
        is_transformer=job.model.pipeline_entry.denoiser == "transformer",
    )
    return replace(config, quantize=request.quantize)


def _same_resources(first: GenerationJob, *jobs: Iterable[Job]) -> Iterator[GenerationJob]:
    """Yield jobs until one needs another model, device or memory setting than `first`."""
    key = resource_key(first)
    for job in itertools.chain(*jobs):
        if not isinstance(job, GenerationJob) or resource_key(job) != key:
            return
        yield job


def _group_start(jobs: Sequence[Job], start: int) -> int:
    """Return the index of the first consecutive job that can share a pipeline call with job `start`."""
    key = jobs[start].group_key
    return next((i + 1 for i in range(start - 1, -1, -1) if jobs[i].group_key != key), 0)


def _group_end(jobs: Sequence[Job], start: int) -> int:
    """Return the index after the last consecutive job that can share a pipeline call with job `start`."""
    key = jobs[start].group_key
    return next((i for i in range(start + 1, len(jobs)) if jobs[i].group_key != key), len(jobs))
