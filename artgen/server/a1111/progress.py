"""Report the progress of a client's jobs as A1111 does."""

import base64
import time
from collections.abc import Sequence
from typing import Any

from artgen.server.a1111.state import seconds_since
from artgen.server.job_queue import ServerJob

MIN_PROGRESS = 0.01
"""Progress of a job before its first step, as in A1111. 0 means that no job runs."""


def progress_body(jobs: Sequence[ServerJob], *, with_image: bool) -> dict[str, Any]:
    """Return the JSON body of `/sdapi/v1/progress`.

    Args:
        jobs: unfinished jobs of the client, the running job first.
        with_image: return the preview of the running image.
    """
    if not jobs:
        return {
            "progress": 0.0,
            "eta_relative": 0.0,
            "state": _state(None, 0),
            "current_image": None,
            "textinfo": None,
        }
    job = jobs[0]
    num_done = len(job.images) + (job.step / job.num_steps if job.num_steps else 0)
    progress = min(1.0, MIN_PROGRESS + num_done / max(1, job.total_images))
    seconds = seconds_since(job)
    preview = job.preview if with_image else None
    return {
        "progress": progress,
        "eta_relative": seconds / progress - seconds,
        "state": _state(job, sum(each.total_images for each in jobs)),
        "current_image": None if preview is None else base64.b64encode(preview).decode("ascii"),
        "textinfo": "Waiting..." if job.state == "queued" else "Loading..." if job.state == "loading" else None,
    }


def _state(job: ServerJob | None, num_images: int) -> dict[str, Any]:
    created = time.time() if job is None else job.created
    return {
        "skipped": False,
        "interrupted": job is not None and job.is_cancel_requested,
        "stopping_generation": False,
        "job": "" if job is None else "artgen",
        "job_count": num_images,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(created)),
        "job_no": 0 if job is None else len(job.images),
        "sampling_step": 0 if job is None else job.step,
        "sampling_steps": 0 if job is None else job.num_steps,
    }
