"""Serve artgen's own API below /api/jobs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from artgen.errors import UsageError
from artgen.server.errors import NOT_FOUND, HttpError, error_fields
from artgen.server.job_queue import SHUTDOWN_SECONDS, ServerJob
from artgen.server.json_body import parse_json_body
from artgen.server.submit import queue_of, settings_of, submit_job
from artgen.server.uploads import Upload, is_upload_name
from artgen.spec.fields import describe_value

ACCEPTED = 202
MAX_PARTS = 64
MAX_JOB_BYTES = 4 << 20
"""Limit of the JSON of a job."""

_HINT = '{"prompt": "a red fox", "seed": 7}'
_FORM_HINT = "curl -F job=@job.json -F photo=@photo.png"


def routes() -> list[BaseRoute]:
    """Return the routes of artgen's own API."""
    return [
        Route("/api/jobs", create_job, methods=["POST"]),
        Route("/api/jobs/{id}", show_job, methods=["GET"]),
        Route("/api/jobs/{id}", stop_job, methods=["DELETE"]),
        Route("/api/jobs/{id}/images/{number:int}", show_image, methods=["GET"]),
        Route("/api/jobs/{id}/events", stream_events, methods=["GET"]),
        Route("/api/jobs/{id}/preview", show_preview, methods=["GET"]),
    ]


async def create_job(request: Request) -> Response:
    """Validate a job and add it to the queue."""
    values, uploads = await read_job(request)
    job = await submit_job(request, values, uploads)
    if await request.is_disconnected():  # the client did not receive the id of the job
        queue_of(request).cancel(job.id)
    body = {"id": job.id, "state": job.state, "position": job.position}
    return JSONResponse(body, ACCEPTED, headers={"Location": f"/api/jobs/{job.id}"})


async def show_job(request: Request) -> Response:
    """Return the state of a job."""
    return JSONResponse(job_state(_find(request)))


async def stop_job(request: Request) -> Response:
    """Stop a job: at once if it waits, after the current step if it runs."""
    job = _find(request)
    queue_of(request).cancel(job.id)
    return JSONResponse(job_state(job))


async def show_image(request: Request) -> Response:
    """Return an image with its record as PNG. The first image has the number 0."""
    job, number = _find(request), request.path_params["number"]
    images = job.images
    if number >= len(images):
        raise HttpError(NOT_FOUND, f"The job has no image {number}: it has {len(images)}.", f"GET /api/jobs/{job.id}")
    return png_response(images[number].png)


async def show_preview(request: Request) -> Response:
    """Return the preview of the running image as PNG."""
    preview = _find(request).preview
    if preview is None:
        raise HttpError(NOT_FOUND, "The job has no preview.")
    return png_response(preview)


async def stream_events(request: Request) -> Response:
    """Send the changes of a job as server-sent events until it ends."""
    from sse_starlette.sse import EventSourceResponse

    job = _find(request)
    return EventSourceResponse(
        _events(job),
        ping=settings_of(request).keep_alive_seconds,
        shutdown_event=anyio.Event(),  # the queue cancels the job when the server ends, which ends the stream
        shutdown_grace_period=SHUTDOWN_SECONDS,
    )


def png_response(png: bytes) -> Response:
    """Return a PNG file that browsers do not interpret as another type."""
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, no-store"})


def job_state(job: ServerJob) -> dict[str, Any]:
    """Return the JSON of `GET /api/jobs/ID`."""
    images = list(job.images)
    return {
        "id": job.id,
        "state": job.state,
        "position": job.position,
        "step": job.step,
        "steps": job.num_steps,
        "total_images": job.total_images,
        "images": [{"url": image_url(job, number), "record": image.record} for number, image in enumerate(images)],
        "notes": list(job.notes),
        "error": None if job.error is None else error_fields(job.error),
    }


def image_url(job: ServerJob, number: int) -> str:
    """Return the path of an image of a job."""
    return f"/api/jobs/{job.id}/images/{number}"


async def read_job(request: Request) -> tuple[Mapping[str, Any], dict[str, Upload]]:
    """Read the job and the uploaded files of a JSON or multipart/form-data request.

    Raises:
        UsageError: the body is not a job.
        HttpError: the type of the body is not supported, or a part is too large.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return _parse_object(await request.body()), {}
    if media_type != "multipart/form-data":
        raise HttpError(415, "The body must be application/json or multipart/form-data.", _HINT)
    uploads: dict[str, Upload] = {}
    job: Mapping[str, Any] | None = None
    async with request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_JOB_BYTES) as form:
        for name, part in form.multi_items():
            if name == "job" and job is not None:
                raise UsageError("The field 'job' occurs twice.", _FORM_HINT)
            if name == "job":
                job = _parse_object(await part.read() if isinstance(part, UploadFile) else part.encode())
            elif not isinstance(part, UploadFile):
                raise UsageError(
                    f"The part {describe_value(name)} must be a file; settings are in the field 'job'.", _FORM_HINT
                )
            elif not is_upload_name(name) or name in uploads:
                raise UsageError(
                    f"Cannot use the part {name!r}: each file has its own name of letters, digits, '.', '_' and '-'.",
                    _FORM_HINT,
                )
            else:
                uploads[name] = Upload(part.filename or name, await part.read())
    if job is None:
        raise UsageError("The request has no field 'job'.", _FORM_HINT)
    return job, uploads


def _parse_object(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_JOB_BYTES:
        raise HttpError(
            413, f"The job has {len(data):,} bytes; the limit is {MAX_JOB_BYTES:,}.", "Upload files as parts."
        )
    try:
        value = parse_json_body(data, unique_keys=True)
    except ValueError as error:
        raise UsageError(f"Cannot parse the job as JSON: {error}.", _HINT) from None
    if not isinstance(value, dict):
        raise UsageError("Cannot use the JSON as a job: it is not an object.", _HINT)
    return value


def _find(request: Request) -> ServerJob:
    job = queue_of(request).get(request.path_params["id"])
    if job is None:
        raise HttpError(NOT_FOUND, "The job is unknown, or the server has removed its results.", "POST /api/jobs")
    return job


async def _events(job: ServerJob) -> AsyncIterator[dict[str, str]]:
    """Yield the events of a job: state, step, note, image, and at the end done, failed or canceled."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
            loop.call_soon_threadsafe(changed.set)

    unsubscribe = job.subscribe(notify)
    sent: dict[str, Any] = {}
    num_notes = num_images = 0
    try:
        while True:
            changed.clear()
            is_ended, state = job.is_ended, job.state
            if (found := {"state": state, "position": job.position}) != sent.get("state") and not is_ended:
                sent["state"] = found
                yield _event("state", found)
            step = {"image": len(job.images), "step": job.step, "steps": job.num_steps}
            if job.num_steps and step != sent.get("step"):
                sent["step"] = step
                yield _event("step", step)
            for text in job.notes[num_notes:]:
                num_notes += 1
                yield _event("note", {"text": text})
            for image in job.images[num_images:]:
                yield _event("image", {"url": image_url(job, num_images), "record": image.record})
                num_images += 1
            if is_ended:
                yield _event(state, job_state(job))
                return
            await changed.wait()
    finally:
        unsubscribe()


def _event(name: str, data: Mapping[str, Any]) -> dict[str, str]:
    return {"event": name, "data": json.dumps(data, ensure_ascii=False)}
