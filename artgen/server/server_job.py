"""Represent a job of a client: its state, its images, and the events of the engine."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from artgen.errors import ArtgenError
from artgen.events import Downloading, Event, Loading, Notice, Preview, StepEvent
from artgen.outputs.signatures import Signing
from artgen.server.parse_job import ParsedJob

if TYPE_CHECKING:
    from artgen.server.job_queue import JobQueue

JobState = Literal["queued", "loading", "running", "done", "failed", "canceled"]

FINAL_STATES = ("done", "failed", "canceled")


class JobCanceled(KeyboardInterrupt):
    """Stop the running job between two steps. The engine handles it as Ctrl-C."""


@dataclass(frozen=True)
class JobImage:
    """Store an image of a job.

    Attributes:
        png: bytes of the PNG file with its record.
        record: record of the image.
        signing: how the file is signed, and other formats of the image; None: not at all.
    """

    png: bytes
    record: Mapping[str, Any]
    signing: Signing | None = None


class ServerJob:
    """Represent a job: one or several images that a client requested. All methods are thread-safe.

    Attributes:
        id: name of the job in URLs, which other clients cannot guess.
        client: address of the client.
        parsed: validated requests, and the uploaded files; None after the job has ended.
        state: see `JobState`.
        step: number of completed steps of the current image.
        num_steps: number of steps of the current image; 0 before the first step.
        preview: PNG bytes of a small image of the current estimate; None before the first preview and after the end.
        images: images so far, in order.
        notes: notes for the user, in order.
        error: reason of a failure; None otherwise.
        total_images: number of images of the job.
        created: time of the creation, in seconds of `time.time`.
        is_cancel_requested: whether the job stops after the current step.
        num_input_bytes: size of the uploaded files; 0 after the job has ended.
        queue: queue that contains the job.
    """

    def __init__(self, parsed: ParsedJob, client: str) -> None:
        """Create a waiting job; `JobQueue.submit` adds it to the queue."""
        self.id = secrets.token_urlsafe(16)
        self.client = client
        self.parsed: ParsedJob | None = parsed
        self.state: JobState = "queued"
        self.step = 0
        self.num_steps = 0
        self.preview: bytes | None = None
        self.images: list[JobImage] = []
        self.notes: list[str] = list(parsed.notes)
        self.error: ArtgenError | None = None
        self.total_images = len(parsed.requests)
        self.created = time.time()
        self.is_cancel_requested = False
        self.num_input_bytes = parsed.num_bytes
        self.queue: JobQueue | None = None
        self._image_start: float | None = None
        self._changed = threading.Condition()
        self._version = 0
        self._subscribers: list[Callable[[], None]] = []

    @property
    def position(self) -> int:
        """Return the number of jobs that run before this job; 0 if it runs or has ended."""
        return self.queue.position(self) if self.queue is not None and self.state == "queued" else 0

    @property
    def is_ended(self) -> bool:
        """Return whether the state is final."""
        return self.state in FINAL_STATES

    @property
    def version(self) -> int:
        """Return a number that increases with each change of the job."""
        return self._version

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended. Return false if `timeout` seconds pass before."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_ended, timeout)

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each change, from another thread. Return a function that ends the subscription."""
        with self._changed:
            self._subscribers.append(on_change)

        def unsubscribe() -> None:
            with self._changed, contextlib.suppress(ValueError):
                self._subscribers.remove(on_change)

        return unsubscribe

    def update(self, **changes: Any) -> None:
        """Change attributes, and notify the subscribers and the callers of `wait`."""
        with self._changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self._version += 1
            self._changed.notify_all()
            subscribers = list(self._subscribers)
        for notify in subscribers:
            notify()

    def add_note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.update()

    def add_image(self, image: JobImage) -> None:
        """Add a finished image."""
        self.images.append(image)
        if self.queue is not None and self._image_start is not None:
            self.queue.on_image(time.monotonic() - self._image_start)
        self._image_start = time.monotonic()
        self.update()

    def start_image(self) -> None:
        """Start the measurement of the seconds of an image, unless it has started."""
        self._image_start = self._image_start or time.monotonic()


class JobListener:
    """Write the events of the engine to a job, and stop the job between two steps."""

    def __init__(self, job: ServerJob) -> None:
        self._job = job

    def __call__(self, event: Event) -> None:
        job = self._job
        if job.is_cancel_requested:
            raise JobCanceled
        match event:
            case Loading() | Downloading():
                if job.state != "loading":
                    job.update(state="loading")
            case StepEvent(done, steps):
                job.start_image()
                job.update(state="running", step=done, num_steps=steps)
            case Preview(image):
                from artgen.outputs.encoding import encode_without_metadata

                job.update(preview=encode_without_metadata(image, "png"))
            case Notice(text):
                parsed = job.parsed
                job.add_note(parsed.files.with_names(text) if parsed is not None else text)
            case _:
                pass
