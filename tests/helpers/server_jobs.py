"""Replace the engine of a server by a function that a test controls."""

import threading
from collections.abc import Callable
from typing import Any

from artgen.events import Listener, Loading, StepEvent
from artgen.server.job_queue import JobImage, ServerJob


class ControlledJobs:
    """Generate an image of given bytes after each `step`. The engine sends the same events.

    Attributes:
        started: is set when a job runs.
        png: bytes of each image.
    """

    def __init__(self, png: bytes = b"png", num_steps: int = 3) -> None:
        self.started = threading.Event()
        self.png = png
        self._num_steps = num_steps
        self._steps = threading.Semaphore(0)

    def step(self, count: int = 1) -> None:
        """Let the running job complete some steps."""
        self._steps.release(count)

    def __call__(self, job: ServerJob, listener: Listener) -> None:
        listener(Loading("unet"))
        self.started.set()
        for _ in range(job.total_images):
            for number in range(1, self._num_steps + 1):
                while not self._steps.acquire(timeout=0.02):
                    listener(Loading("unet"))
                listener(StepEvent(number, self._num_steps, 1, 1, 1))
            job.add_image(JobImage(self.png, {"seed": 7}))


def at_once(png: bytes = b"png") -> Callable[[ServerJob, Any], None]:
    """Return a function that adds the images of a job without waiting."""

    def run(job: ServerJob, listener: Listener) -> None:
        for _ in range(job.total_images):
            listener(StepEvent(1, 1, 1, 1, 1))
            job.add_image(JobImage(png, {"seed": 7}))

    return run
