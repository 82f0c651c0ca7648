"""Text to image: words in, a picture out."""

from typing import Any

from artgen.jobs.prepare import Job

PIPELINE = "Text2Image"


def arguments(jobs: list[Job]) -> dict[str, Any]:
    """Keyword arguments of the pipeline beyond those all tasks share."""
    return {"width": jobs[0].width, "height": jobs[0].height}
