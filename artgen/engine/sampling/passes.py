"""Run the pipeline calls of a batch: one call, or two calls for hires fix."""

from collections.abc import Sequence

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import hires
from artgen.engine.sampling.pipeline_call import ProgressReporter, run_pipeline
from artgen.jobs.job import GenerationJob
from artgen.spec.hires_passes import second_pass_steps
from artgen.spec.settings import FramesSettings


def run_passes(
    jobs: Sequence[GenerationJob],
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    progress: ProgressReporter,
    frames: FramesSettings | None = None,
) -> list[GeneratedImage | FailedImage]:
    """Generate a batch of images. See `run_pipeline` for the arguments and the errors."""
    if jobs[0].hires is None:
        return run_pipeline(jobs, batch_size, device_config, memory_settings, progress, frames)
    on_first, on_second = hires.without_repeated_notes(progress.listener)
    first_progress = progress.for_pass(on_first, after=second_pass_steps(jobs[0].request))
    first = run_pipeline(hires.first_jobs(jobs), batch_size, device_config, memory_settings, first_progress)
    finished = [(job, result) for job, result in zip(jobs, first, strict=True) if isinstance(result, GeneratedImage)]
    if not finished:
        return [_failure(job, result) for job, result in zip(jobs, first, strict=True)]
    second_jobs = hires.second_jobs(
        [job for job, _ in finished], [result for _, result in finished], device_config, on_second
    )
    second_progress = progress.for_pass(on_second, before=int(jobs[0].request.steps or 1))
    second = iter(run_pipeline(second_jobs, batch_size, device_config, memory_settings, second_progress))
    return [
        hires.combined_outcome(job, result, next(second))
        if isinstance(result, GeneratedImage)
        else _failure(job, result)
        for job, result in zip(jobs, first, strict=True)
    ]


def _failure(job: GenerationJob, result: GeneratedImage | FailedImage) -> GeneratedImage | FailedImage:
    """Return the failure of the first pass as a failure of the job."""
    return FailedImage(job.request, result.error) if isinstance(result, FailedImage) else result
