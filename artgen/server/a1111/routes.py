"""Serve A1111's API below `/sdapi/v1`."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from artgen.server.a1111 import lists
from artgen.server.a1111.errors import FieldError, error_body
from artgen.server.a1111.extras import html_info, read_extras, read_images
from artgen.server.a1111.generate import generate, upscale
from artgen.server.a1111.image_fields import decode_base64
from artgen.server.a1111.png_info import png_info_body
from artgen.server.a1111.progress import progress_body
from artgen.server.a1111.read_request import model_name, read_img2img, read_txt2img
from artgen.server.a1111.state import state_of
from artgen.server.a1111.typed_fields import read_text
from artgen.server.ascii_json import AsciiJson
from artgen.server.blocking_api import Endpoint, with_errors
from artgen.server.errors import NOT_FOUND
from artgen.server.json_body import parse_json_body
from artgen.server.run_locked import run_locked
from artgen.server.server_models import default_name, find_model
from artgen.server.submit import client_of, queue_of, settings_of
from artgen.spec.fields import describe_value

_LISTS: Mapping[str, Callable[[], Any]] = {
    "cmd-flags": lists.cmd_flags,
    "embeddings": lists.embeddings,
    "extensions": list,
    "face-restorers": list,
    "hypernetworks": list,
    "latent-upscale-modes": lists.latent_upscale_modes,
    "loras": lists.loras,
    "memory": lists.memory,
    "prompt-styles": lists.prompt_styles,
    "realesrgan-models": list,
    "samplers": lists.samplers,
    "schedulers": lists.schedulers,
    "script-info": list,
    "scripts": lists.scripts,
    "sd-vae": list,
    "upscalers": lists.upscalers,
}
"""Endpoints that return a list or an object without parameters. `list` returns an empty list."""

_REFRESHES = ("refresh-checkpoints", "refresh-embeddings", "refresh-loras", "refresh-vae")
"""Endpoints that read the folders again. artgen reads them for each request."""


def a1111_routes() -> list[BaseRoute]:
    """Return the routes of A1111's API."""
    prefix = "/sdapi/v1"
    routes: list[BaseRoute] = [
        Route(f"{prefix}/txt2img", _as_a1111(txt2img), methods=["POST"]),
        Route(f"{prefix}/img2img", _as_a1111(img2img), methods=["POST"]),
        Route(f"{prefix}/extra-single-image", _as_a1111(upscale_image), methods=["POST"]),
        Route(f"{prefix}/extra-batch-images", _as_a1111(upscale_images), methods=["POST"]),
        Route(f"{prefix}/options", _as_a1111(show_options), methods=["GET"]),
        Route(f"{prefix}/options", _as_a1111(set_options), methods=["POST"]),
        Route(f"{prefix}/progress", _as_a1111(show_progress), methods=["GET"]),
        Route(f"{prefix}/interrupt", _as_a1111(interrupt), methods=["POST"]),
        Route(f"{prefix}/skip", _as_a1111(interrupt), methods=["POST"]),
        Route(f"{prefix}/sd-models", _as_a1111(list_models), methods=["GET"]),
        Route(f"{prefix}/png-info", _as_a1111(png_info), methods=["POST"]),
    ]
    for name, function in _LISTS.items():
        routes.append(Route(f"{prefix}/{name}", _as_a1111(_list_endpoint(function)), methods=["GET"]))
    routes += [Route(f"{prefix}/{name}", _as_a1111(refresh), methods=["POST"]) for name in _REFRESHES]
    return [*routes, Route("/sdapi/{path:path}", _as_a1111(unknown_path), methods=["GET", "POST"])]


def _as_a1111(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose errors have the form of A1111's API."""
    return with_errors(endpoint, lambda status, error: error_body(status, error.message, error.hint))


async def txt2img(request: Request) -> Response:
    """Generate images from a prompt."""
    body = await _read_body(request)
    model = state_of(request).model(client_of(request))
    return await generate(request, body, await run_locked(read_txt2img, body, model))


async def img2img(request: Request) -> Response:
    """Generate images from an image and a prompt, or repaint the masked part of an image."""
    body = await _read_body(request)
    model, max_pixels = state_of(request).model(client_of(request)), settings_of(request).max_upload_pixels
    queue_of(request).check_space(client_of(request))  # before images are decoded
    return await generate(request, body, await run_locked(read_img2img, body, model, max_pixels))


async def upscale_image(request: Request) -> Response:
    """Enlarge an image."""
    body = await _read_body(request)
    line, content = read_extras(body), decode_base64(body.get("image"), "image")
    images, notes = await _upscale(request, line, [content])
    return AsciiJson({"html_info": html_info(body, notes), "image": images[0] if images else None})


async def upscale_images(request: Request) -> Response:
    """Enlarge several images, one after another."""
    body = await _read_body(request)
    images, notes = await _upscale(request, read_extras(body), read_images(body))
    return AsciiJson({"html_info": html_info(body, notes), "images": images})


async def _upscale(request: Request, line: Mapping[str, Any], contents: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Return the enlarged images as base64 texts, and notes."""
    images: list[str] = []
    notes: dict[str, None] = {}
    for content in contents:
        job = await upscale(request, line, content)
        images += [base64.b64encode(image.png).decode("ascii") for image in job.images]
        notes |= dict.fromkeys(job.notes)
    return images, list(notes)


async def show_options(request: Request) -> Response:
    """Return the model of the client, and constant values of other options that clients read."""
    name = state_of(request).model(client_of(request)) or await run_locked(default_name, settings_of(request))
    return AsciiJson(
        {
            "sd_model_checkpoint": name,
            "sd_checkpoint_hash": None,
            "samples_format": "png",
            "CLIP_stop_at_last_layers": 1,
        }
    )


async def set_options(request: Request) -> Response:
    """Select the model of the client. Other options are ignored."""
    body = await _read_body(request)
    name = model_name(read_text(body, "sd_model_checkpoint"))
    if name:
        found = await run_locked(find_model, name, settings_of(request))
        if found is None:
            raise FieldError(f"model {describe_value(name)} not found", "sd_model_checkpoint", NOT_FOUND)
        state_of(request).select_model(client_of(request), found[0])
    return AsciiJson(None)


async def list_models(request: Request) -> Response:
    """List the models on the disk."""
    return AsciiJson(await run_locked(lists.sd_models, settings_of(request)))


async def show_progress(request: Request) -> Response:
    """Return the progress of the client's jobs."""
    with_image = request.query_params.get("skip_current_image", "false").lower() not in ("true", "1")
    return AsciiJson(progress_body(state_of(request).jobs(client_of(request)), with_image=with_image))


async def interrupt(request: Request) -> Response:
    """Stop the running job of the client, or its first waiting job. Its request returns the finished images."""
    for job in state_of(request).jobs(client_of(request))[:1]:
        queue_of(request).cancel(job.id)
    return AsciiJson({})


async def png_info(request: Request) -> Response:
    """Return the generation parameters of an image."""
    return AsciiJson(await run_in_threadpool(png_info_body, await _read_body(request)))


async def refresh(request: Request) -> Response:  # noqa: ARG001
    """Do nothing: the folders are read for each request."""
    return AsciiJson(None)


async def unknown_path(request: Request) -> Response:
    """Report an unknown path."""
    return AsciiJson({"detail": "Not Found", "error": f"artgen has no {request.url.path}."}, NOT_FOUND)


def _list_endpoint(function: Callable[[], Any]) -> Endpoint:
    async def show(request: Request) -> Response:  # noqa: ARG001
        return AsciiJson(await run_locked(function))

    return show


async def _read_body(request: Request) -> Mapping[str, Any]:
    """Return the fields of the request.

    Raises:
        FieldError: the body is not a JSON object.
    """
    data = await request.body()
    try:
        value = await run_in_threadpool(parse_json_body, data)
    except ValueError as error:
        raise FieldError(f"Cannot parse the body as JSON: {error}.", "body") from None
    if not isinstance(value, dict):
        raise FieldError("The body must be a JSON object.", "body")
    return value
