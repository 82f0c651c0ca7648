"""Enlarge images with Lanczos resampling. This module does not import torch."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from artgen import images
from artgen.engine.generation_context import GenerationContext
from artgen.engine.generation_timer import GenerationTimer
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, StepEvent, no_op
from artgen.jobs import checks
from artgen.jobs.job import Job, UpscaleJob
from artgen.jobs.output_filters import with_results
from artgen.spec.records import WRITER_FIELDS, to_record
from artgen.spec.settings import FramesSettings

__all__ = ["FailedImage", "GenerationContext", "finished_image", "generate_jobs", "out_of_memory", "resample"]


def generate_jobs(
    jobs: Sequence[Job],
    *,
    first: int = 0,
    batch_size: object = None,  # noqa: ARG001 - the arguments of `artgen.engine.generate.generate_jobs`
    frames: FramesSettings | None = None,
    context: GenerationContext | None = None,  # noqa: ARG001
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Yield the images of jobs that only resample; see `artgen.engine.generate.generate_jobs`.

    Raises:
        UsageError: frames are requested.
        MemoryExhaustedError: an image does not fit into memory.
    """
    for number, job in enumerate(jobs[first:], first + 1):
        if frames is not None:
            checks.check_frames(frames, job)
        if isinstance(job, UpscaleJob):
            listener(StepEvent(0, 1, number, 1, len(jobs)))
            timer = GenerationTimer(listener)
            result = resample(job)
            record = with_results(result.record, job.filters)
            yield replace(result, record=record, seconds=timer.elapsed_seconds)
            listener(StepEvent(1, 1, number, 1, len(jobs)))


def resample(job: UpscaleJob) -> GeneratedImage:
    """Return the enlarged image of a job, with all bits and properties of the input image.

    Raises:
        MemoryExhaustedError: the image does not fit into memory.
    """
    try:
        return finished_image(job, images.resize_lossless(job.source, job.size), {}, {})
    except MemoryError:
        raise out_of_memory(job) from None


def finished_image(
    job: UpscaleJob, result: images.LosslessImage, settings: dict[str, Any], facts: dict[str, Any]
) -> GeneratedImage:
    """Return the result of a job with its record.

    Args:
        job: job.
        result: enlarged image.
        settings: settings whose values were selected during the run.
        facts: values for the record in addition to the provenance of the job.
    """
    request = job.request.replace(**settings)
    provenance = {**job.provenance, **WRITER_FIELDS, **facts}
    record = to_record(request, {name: value for name, value in provenance.items() if value not in (None, "", [])})
    image: Image.Image = result.image
    return GeneratedImage(image, record, request, result.low_bytes)


def out_of_memory(job: UpscaleJob) -> MemoryExhaustedError:
    """Return the error for an image that does not fit into memory."""
    return MemoryExhaustedError(
        f"Cannot upscale to {job.width}x{job.height}: out of memory.", "Use a smaller --by or --target-size."
    )
