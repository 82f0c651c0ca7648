"""Run the safety checker of a model for output filters."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from artgen.errors import ModelUnavailableError
from artgen.jobs.job import GenerationJob


@contextlib.contextmanager
def kept_pixels(pipe: Any, job: GenerationJob, *, hides_flags: bool = True) -> Iterator[list[bool]]:
    """Keep the pixels of flagged images, which diffusers replaces by black pixels, if no filter refuses them.

    Args:
        pipe: pipeline of the job.
        job: a job; all jobs of a pipeline call have the same filters.
        hides_flags: report no flags to the caller of the safety checker. A pipeline does not scale flagged images.

    Yields:
        List that receives the flag of each image; it stays empty if flagged images are refused.
    """
    found: list[bool] = []
    check = getattr(pipe, "run_safety_checker", None)
    if check is None or not job.filters.uses_checker or job.filters.checker_refuses:
        yield found
        return

    def run_safety_checker(image: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        copy = image.clone() if isinstance(image, torch.Tensor) else image.copy()
        flags = list(map(bool, check(copy, *args, **kwargs)[1] or ()))
        found[:] = flags
        return image, [False] * len(flags) if hides_flags else flags

    pipe.run_safety_checker = run_safety_checker
    try:
        yield found
    finally:
        del pipe.run_safety_checker


def flagged_images(result: Any, kept: list[bool], batch_size: int, job: GenerationJob) -> list[bool]:
    """Return whether the safety checker flagged each image of a pipeline call.

    Args:
        result: output of the pipeline.
        kept: list of `kept_pixels`.
        batch_size: number of images.
        job: a job of the call.

    Raises:
        ModelUnavailableError: a filter uses the safety checker, but the pipeline did not run it.
    """
    flags = kept or getattr(result, "nsfw_content_detected", None)
    if not flags and job.filters.uses_checker:
        raise ModelUnavailableError(
            f"Cannot use '{job.model.name}' with the filter '{job.filters.checker_policies[0].name}': its pipeline did "
            "not run the safety checker.",
            "Use a filter with a filter_model.",
        )
    return list(flags or [False] * batch_size)
