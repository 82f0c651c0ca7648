"""Import the module that runs jobs: torch is not imported for images that are only resampled."""

from collections.abc import Iterable
from typing import Any

from artgen.engine import fast_import
from artgen.jobs.job import Job, UpscaleJob


def needs_torch(job: Job) -> bool:
    """Return whether a job uses torch, for its image or for a classifier that filters the image."""
    return not isinstance(job, UpscaleJob) or job.needs_torch or job.filters.checks_pixels


def import_engine_for(jobs: Iterable[Job]) -> Any:
    """Return the imported module with `generate_jobs`, `FailedImage` and `GenerationContext` for the jobs."""
    if any(map(needs_torch, jobs)):
        return fast_import.import_engine()
    from artgen.engine.upscaling import resampling

    return resampling
