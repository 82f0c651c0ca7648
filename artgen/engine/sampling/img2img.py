"""Generate an image from a prompt and an input image.

The input image is noised according to `strength` and then denoised (SDEdit, Meng et al. 2022, arXiv 2108.01073).
"""

from collections.abc import Sequence
from typing import Any

from artgen.jobs.prepare import Job

PIPELINE_KIND = "Image2Image"


def pipeline_kwargs(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline that are specific to this task."""
    return {
        "image": [job.padded_image for job in jobs],
        "strength": jobs[0].strength,
        "width": jobs[0].padded_image.width,
        "height": jobs[0].padded_image.height,
    }
