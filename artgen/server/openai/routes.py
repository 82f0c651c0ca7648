"""Serve OpenAI's images API below `/v1`."""

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from artgen.errors import InputFileError
from artgen.server.ascii_json import AsciiJson
from artgen.server.blocking_api import SERVER_ERROR, Endpoint, with_errors
from artgen.server.errors import NOT_FOUND, HttpError
from artgen.server.json_body import parse_json_body
from artgen.server.openai.edits import EditForm, read_edit
from artgen.server.openai.errors import FieldError, job_error_body
from artgen.server.openai.fields import ImagesRequest, read_generation
from artgen.server.openai.models import list_body, model_object
from artgen.server.openai.results import ImageLinks, images_body
from artgen.server.run_locked import run_locked
from artgen.server.server_models import find_model, is_editing_model, model_of_job
from artgen.server.submit import client_of, queue_of, settings_of, submit_job
from artgen.server.uploads import Upload
from artgen.server.wait_for_job import wait_for_job
from artgen.spec.fields import describe_value

MAX_FORM_FIELDS = 64
MAX_FIELD_BYTES = 1 << 20
IMAGE_FIELDS = ("image", "image[]")


def openai_routes() -> list[BaseRoute]:
    """Return the routes of OpenAI's API."""
    return [
        Route("/v1/images/generations", _as_openai(generate), methods=["POST"]),
        Route("/v1/images/edits", _as_openai(edit), methods=["POST"]),
        Route("/v1/images/files/{name}", _as_openai(show_file), methods=["GET"]),
        Route("/v1/models", _as_openai(list_models), methods=["GET"]),
        Route("/v1/models/{name:path}", _as_openai(show_model), methods=["GET"]),
        Route("/v1/{path:path}", _as_openai(unknown_path), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


def _as_openai(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose errors have the form of OpenAI's API."""
    return with_errors(endpoint, job_error_body)


async def generate(request: Request) -> Response:
    """Generate images from a prompt."""
    return await _images_response(request, read_generation(_parse_object(await request.body())))


async def edit(request: Request) -> Response:
    """Change images according to a prompt: inpaint with a mask, img2img without one, edit with an editing model."""
    form = await _read_form(request)
    settings = settings_of(request)
    queue_of(request).check_space(client_of(request))  # before images are decoded

    def read() -> ImagesRequest:
        is_editor = is_editing_model(form.fields.get("model"), settings)
        return read_edit(form, is_editor=is_editor, max_pixels=settings.max_upload_pixels)

    return await _images_response(request, await run_locked(read))


async def show_file(request: Request) -> Response:
    """Return an image to which a link points. The name in the link is the secret, so that no token is necessary."""
    image = _links(request).get(request.path_params["name"])
    if image is None:
        raise FieldError("The link is unknown or has expired.", None, "not_found", NOT_FOUND)
    return Response(image.content, media_type=image.media_type, headers={"Cache-Control": "private, no-store"})


async def list_models(request: Request) -> Response:
    """List the models on the disk."""
    return AsciiJson(await run_locked(list_body, settings_of(request)))


async def show_model(request: Request) -> Response:
    """Return one model."""
    name = request.path_params["name"]
    found = await run_locked(find_model, name, settings_of(request))
    if found is None:
        message = f"The model {describe_value(name)} does not exist on this server."
        raise FieldError(message, "model", "model_not_found", NOT_FOUND)
    return AsciiJson(model_object(*found))


async def unknown_path(request: Request) -> Response:
    """Report an unknown path."""
    raise FieldError(f"Unknown request: {request.method} {request.url.path}.", None, "unknown_url", NOT_FOUND)


async def _images_response(request: Request, images_request: ImagesRequest) -> Response:
    """Run a job, and return its images."""
    uploads = {name: Upload(f"{name}.png", content) for name, content in images_request.uploads.items()}
    line = dict(images_request.line)
    line["model"] = await run_locked(model_of_job, line.get("model"), settings_of(request))
    job = await submit_job(request, line, uploads)
    await wait_for_job(request, job)
    if job.error is not None:
        raise job.error
    if job.state == "canceled":
        raise HttpError(SERVER_ERROR, "The job was stopped on the server.")
    link = (_links(request), str(request.base_url).rstrip("/"))
    body = await run_in_threadpool(images_body, images_request, list(job.images), job.created, link)
    return AsciiJson(body)


def _links(request: Request) -> ImageLinks:
    """Return the store of linked images of the server."""
    state = request.app.state
    if not hasattr(state, "openai_links"):
        state.openai_links = ImageLinks()
    links: ImageLinks = state.openai_links
    return links


def _parse_object(data: bytes) -> Mapping[str, Any]:
    try:
        value = parse_json_body(data)
    except ValueError as error:
        raise FieldError(f"Cannot parse the body as JSON: {error}.", None, "invalid_json") from None
    if not isinstance(value, dict):
        raise FieldError("The body must be a JSON object.", None, "invalid_json")
    return value


async def _read_form(request: Request) -> EditForm:
    """Return the parts of a multipart form.

    Raises:
        FieldError: the body is not a form, or a field has the wrong kind.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise FieldError(
            "The body must be multipart/form-data: the server does not download images.", None, "invalid_content_type"
        )
    fields: dict[str, Any] = {}
    images: list[bytes] = []
    mask: bytes | None = None
    limits = {"max_files": MAX_FORM_FIELDS, "max_fields": MAX_FORM_FIELDS, "max_part_size": MAX_FIELD_BYTES}
    async with request.form(**limits) as form:
        for name, part in form.multi_items():
            is_file = isinstance(part, UploadFile)
            if is_file != (name in (*IMAGE_FIELDS, "mask")):
                raise FieldError(f"{name} must be {'a text' if is_file else 'a file'}.", name[:64], "invalid_type")
            if name in fields or (name == "mask" and mask is not None):
                raise FieldError(f"{name} occurs twice.", name[:64], "duplicate_parameter")
            if isinstance(part, str):
                fields[name] = part
            elif name == "mask":
                mask = await part.read()
            else:
                images.append(await part.read())
    if mask == b"" or b"" in images:
        raise InputFileError("An uploaded image is empty.", settings=("image",))
    return EditForm(fields, images, mask)
