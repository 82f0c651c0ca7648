"""Run the job of a request, without settings that its model does not support."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from artgen.errors import ArtgenError
from artgen.jobs.replay_other_tools import other_scheduler
from artgen.server.a1111.info import generation_body
from artgen.server.a1111.read_request import GenerationRequest
from artgen.server.a1111.state import state_of
from artgen.server.ascii_json import AsciiJson
from artgen.server.job_queue import ServerJob
from artgen.server.run_locked import run_locked
from artgen.server.server_models import model_of_job
from artgen.server.submit import client_of, settings_of, submit_job
from artgen.server.uploads import Upload
from artgen.server.wait_for_job import wait_for_job
from artgen.spec.fields import describe_value
from artgen.spec.schedulers import find_scheduler

OPTIONAL_SETTINGS = (
    "clip_skip", "feather", "fill", "guidance_scale", "negative_prompt", "only_masked", "scheduler", "sigmas",
    "strength",
)  # fmt: skip
"""Settings that clients of A1111 send to all models. If the model does not support them, they are ignored."""

FIELD_NAMES: Mapping[str, str] = {
    "feather": "mask_blur",
    "fill": "inpainting_fill",
    "guidance_scale": "cfg_scale",
    "only_masked": "inpaint_full_res",
    "scheduler": "sampler_name",
    "sigmas": "scheduler",
    "strength": "denoising_strength",
}
"""Settings of artgen -> fields of A1111, if the names differ."""


async def generate(request: Request, body: Mapping[str, Any], converted: GenerationRequest) -> Response:
    """Run a job, and return its images. A stopped job returns the images that are finished.

    Args:
        request: request of the client.
        body: fields of the request.
        converted: converted fields.

    Raises:
        ArtgenError: the job is invalid, or its images could not be generated.
        ClientDisconnected: the client closed the connection.
    """
    converted, job = await _submit(request, converted)
    await _wait(request, job)
    return AsciiJson(await run_in_threadpool(generation_body, body, converted, job))


async def upscale(request: Request, line: Mapping[str, Any], content: bytes) -> ServerJob:
    """Enlarge an image. Return the ended job.

    Args:
        request: request of the client.
        line: settings of the job.
        content: image `upload:image`.

    Raises:
        ArtgenError, ClientDisconnected: see `generate`.
    """
    job = await submit_job(request, line, {"image": Upload("image.png", content)})
    await _wait(request, job)
    return job


async def _wait(request: Request, job: ServerJob) -> None:
    """Wait until a job has ended. The client sees its progress and can stop it."""
    client, state = client_of(request), state_of(request)
    state.add_job(client, job)
    try:
        await wait_for_job(request, job)
    finally:
        state.remove_job(client, job)
    if job.error is not None:
        raise job.error


async def _submit(request: Request, converted: GenerationRequest) -> tuple[GenerationRequest, ServerJob]:
    """Submit a job. Remove the optional settings that the model does not support, one after another."""
    uploads = {name: Upload(f"{name}.png", content) for name, content in converted.uploads.items()}
    model = await run_locked(model_of_job, converted.line.get("model"), settings_of(request))
    while True:
        try:
            return converted, await submit_job(request, {**converted.line, "model": model}, uploads)
        except ArtgenError as error:
            changed = _without_unsupported(converted, error)
            if changed is None:
                raise
            converted = changed


def _without_unsupported(converted: GenerationRequest, error: ArtgenError) -> GenerationRequest | None:
    """Return a request without the first optional setting that an error names; None if it names no such setting."""
    names = [name for name in error.settings if name in OPTIONAL_SETTINGS and name in converted.line]
    if not names:
        return None
    name, used, line = names[0], "", dict(converted.line)
    if name == "scheduler":
        changes, used = other_scheduler(find_scheduler(str(line["scheduler"])).name)
        line |= changes
    else:
        line[name] = None
    line = {key: value for key, value in line.items() if value is not None}
    note = f"The setting {name} is ignored: {error.message}{used}"
    field = FIELD_NAMES.get(name, name)
    unsupported = {**converted.unsupported, field: describe_value(converted.line[name])}
    return replace(converted, line=line, notes=(*converted.notes, note), unsupported=unsupported)
