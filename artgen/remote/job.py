"""Run one job on a server: submit it, follow its events, and load its images."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from artgen.engine.results import GeneratedImage
from artgen.errors import ArtgenError
from artgen.events import Event, Listener, Notice, StepEvent, WaitingForServer
from artgen.metadata.content_credentials.manifest_store import find_manifest_store
from artgen.remote import errors
from artgen.remote.connection import POLL_SECONDS, Connection
from artgen.remote.result import decode_result
from artgen.remote.upload import Upload
from artgen.spec.base_requests import Request

FULL_QUEUE_SECONDS = 3600.0
"""Time in which a job is sent again if the queue of the server is full."""
RETRY_FULL_SECONDS = 1.0

_FINAL_STATES = ("done", "failed", "canceled")
_SERVER_SIGNATURE_NOTE = (
    "The server signed its file. This command writes the image again, without the signature of the server."
)


@dataclass(frozen=True)
class Numbering:
    """Store the number of an image of a run, for the progress display.

    Attributes:
        image: number of the image, counted from 1.
        total: number of all images.
    """

    image: int = 1
    total: int = 1


class RemoteJob:
    """Represent a job of a server. `submit` creates it."""

    def __init__(self, connection: Connection, job_id: str, request: Request, facts: Mapping[str, Any]) -> None:
        self._connection = connection
        self._path = f"/api/jobs/{job_id}"
        self._request = request
        self._facts = facts
        self._is_ended = False

    @classmethod
    def submit(
        cls, connection: Connection, request: Request, upload: Upload, *, full_queue_seconds: float = FULL_QUEUE_SECONDS
    ) -> "RemoteJob":
        """Send a job. If the queue of the server is full, send it again until it is accepted.

        Raises:
            ArtgenError: the server refuses the job, or is not reachable.
        """
        body, content_type = upload.body()
        waited = 0.0
        while True:
            answer = connection.post("/api/jobs", body, content_type)
            try:
                accepted = connection.checked(answer, expected=202).json()
                break
            except errors.QueueFullError:
                seconds = min(answer.retry_after or RETRY_FULL_SECONDS, 30.0)
                waited += seconds
                if waited > full_queue_seconds:
                    raise
                connection.sleep(seconds)
        job_id = accepted.get("id") if isinstance(accepted, dict) else None
        if not isinstance(job_id, str) or not job_id.replace("-", "").replace("_", "").isalnum():
            raise errors.foreign_error(connection.url)
        return cls(connection, job_id, request, upload.facts)

    def wait(self, listener: Listener, numbering: Numbering) -> GeneratedImage:
        """Wait for the end of the job, and return its image. The listener receives progress and notes.

        If the listener raises KeyboardInterrupt, the job is canceled.

        Raises:
            ServerError: the server ended.
            ArtgenError: the error of the job.
        """
        try:
            return self._wait(listener, numbering)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop the job if it has not ended."""
        if not self._is_ended:
            self._is_ended = True
            self._connection.delete(self._path)

    def _wait(self, listener: Listener, numbering: Numbering) -> GeneratedImage:
        progress = _Progress(listener, numbering)
        previous_on_wait, self._connection.on_wait = self._connection.on_wait, progress.repeat
        try:
            state = self._state()
            while state.get("state") not in _FINAL_STATES:
                self._follow(progress)
                state = self._state()
                if state.get("state") not in _FINAL_STATES:  # the stream ended early
                    progress.on_state(state)
                    self._connection.sleep(2 * POLL_SECONDS)
                    state = self._state()
            self._is_ended = True
            progress.add_notes(state.get("notes"))
            seconds = progress.elapsed_seconds
            return replace(self._result(state, progress), seconds=seconds)
        finally:
            self._connection.on_wait = previous_on_wait

    def _state(self) -> dict[str, Any]:
        answer = self._connection.get(self._path)
        if answer.status == 404:
            self._is_ended = True
            raise errors.ended_error(self._connection.url)
        state = self._connection.checked(answer).json()
        if not isinstance(state, dict):
            raise errors.foreign_error(self._connection.url)
        return state

    def _follow(self, progress: "_Progress") -> None:
        """Report the events of the job until their stream ends. The state of the job is requested afterwards."""
        for name, data in self._connection.iterate(self._connection.events(f"{self._path}/events")):
            if name in _FINAL_STATES:
                return
            progress.on_event(name, data)

    def _result(self, state: Mapping[str, Any], progress: "_Progress") -> GeneratedImage:
        if state.get("state") == "canceled":
            raise errors.ServerError(
                f"The server '{self._connection.url}' canceled the job.", "Run the same command again."
            )
        if state.get("state") == "failed":
            raise errors.error_of(state.get("error")) or ArtgenError("The job failed on the server.")
        found = state.get("images")
        if not isinstance(found, list) or not found or not isinstance(found[0], dict):
            raise errors.foreign_error(self._connection.url)
        answer = self._connection.get(f"{self._path}/images/0")
        if answer.status == 404:
            raise errors.ended_error(self._connection.url)
        data = self._connection.checked(answer).data
        record = found[0].get("record")
        if find_manifest_store(data) is not None:
            progress.add_notes([_SERVER_SIGNATURE_NOTE])
        return decode_result(data, record if isinstance(record, dict) else {}, self._request, self._facts)


class _Progress:
    """Convert the events of a job of a server to events for a listener."""

    def __init__(self, listener: Listener, numbering: Numbering) -> None:
        self._listener = listener
        self._numbering = numbering
        self._last: Event = WaitingForServer(0)
        self._notes: set[str] = set()
        self._first_step_time: float | None = None
        self._listener(self._last)

    def repeat(self) -> None:
        """Report the last progress again, so that the listener can stop the run."""
        self._listener(self._last)

    def on_event(self, name: str, data: Any) -> None:
        """Report an event of the stream."""
        if not isinstance(data, dict):
            return
        if name == "note":
            self.add_notes([data.get("text")])
        else:
            self.on_state(data)

    def on_state(self, state: Mapping[str, Any]) -> None:
        """Report a state, or the number of steps."""
        step, steps, position = (_whole(state.get(name)) for name in ("step", "steps", "position"))
        if steps:
            if self._first_step_time is None:
                self._first_step_time = time.monotonic()
            self._last = StepEvent(step, steps, self._numbering.image, 1, self._numbering.total)
        elif state.get("state") == "queued":
            self._last = WaitingForServer(position)
        elif state.get("state") == "loading":
            self._last = WaitingForServer(0, is_loading=True)
        self._listener(self._last)

    @property
    def elapsed_seconds(self) -> float | None:
        """Return the seconds since the first step; None before it."""
        return None if self._first_step_time is None else time.monotonic() - self._first_step_time

    def add_notes(self, notes: Any) -> None:
        """Report notes that were not reported yet."""
        for text in notes if isinstance(notes, list) else ():
            if isinstance(text, str) and text not in self._notes:
                self._notes.add(text)
                self._listener(Notice(text[: errors.MAX_TEXT_CHARS]))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
