"""Generate an image from a prompt."""

from collections.abc import Sequence
from typing import Any

from artgen.jobs.prepare import Job

PIPELINE_KIND = "Text2Image"


def pipeline_kwargs(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline that are specific to this task."""
    return {"width": jobs[0].width, "height": jobs[0].height}
