"""Image to image: a picture, noised to `strength` and denoised again under a prompt (SDEdit, Meng et al. 2022)."""

from typing import Any

from artgen.jobs.prepare import Job

PIPELINE = "Image2Image"


def arguments(jobs: list[Job]) -> dict[str, Any]:
    """Keyword arguments of the pipeline beyond those all tasks share."""
    return {
        "image": [job.padded_image for job in jobs],
        "strength": jobs[0].strength,
        "width": jobs[0].padded_image.width,
        "height": jobs[0].padded_image.height,
    }
