"""Convert the fields of a request to the parameters of A1111's text, such as `Steps: 20, Sampler: Euler a`."""

from collections.abc import Iterator, Mapping
from typing import Any

from artgen.errors import UsageError
from artgen.registry.upscalers import upscaler_entries
from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.typed_fields import read_flag, read_integer, read_number, read_object, read_text
from artgen.server.errors import NOT_FOUND
from artgen.spec.sampler_names import UNSUPPORTED_SCHEDULERS, split_spacing
from artgen.spec.schedulers import find_scheduler, normalize_name
from artgen.spec.settings.sampling import MAX_SIDE_PX

MAX_SEED = 2**64 - 1

MAX_STEPS = 1000
MAX_GUIDANCE_SCALE = 100
DEFAULT_IMG2IMG_STRENGTH = 0.75
DEFAULT_HIRES_SCALE = 2.0
DEFAULT_NAMES = ("", "automatic", "n/a", "none")
"""Names of samplers and schedules, in lower case, that select the default of the model."""

_UNSUPPORTED = {normalize_name(name) for name in UNSUPPORTED_SCHEDULERS}


def parameter_pairs(body: Mapping[str, Any], task: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters. A field that the request does not contain has the default of the model.

    Args:
        body: fields of the request.
        task: txt2img, img2img or inpaint.

    Raises:
        FieldError: a field is not valid.
    """
    if steps := read_integer(body, "steps", 0, 1, MAX_STEPS):
        yield "Steps", str(steps)
    if sampler := read_sampler(body):
        yield "Sampler", sampler
        schedule = read_text(body, "scheduler")
        if schedule.lower() not in DEFAULT_NAMES:
            yield "Schedule type", schedule
        elif split_spacing(sampler)[1] is None:
            yield "Schedule type", "Automatic"
    if body.get("cfg_scale") is not None:
        yield "CFG scale", f"{read_number(body, 'cfg_scale', 0, 0, MAX_GUIDANCE_SCALE):g}"
    if task == "txt2img":
        width, height = (read_integer(body, name, 0, 0, MAX_SIDE_PX) for name in ("width", "height"))
        if width and height:
            yield "Size", f"{width}x{height}"
        yield from _hires_pairs(body)
    else:
        yield "Denoising strength", f"{read_number(body, 'denoising_strength', DEFAULT_IMG2IMG_STRENGTH, 0, 1):g}"
    if read_flag(body, "tiling"):
        yield "Tiling", "True"
    if (clip_skip := _clip_skip(body)) > 1:
        yield "Clip skip", str(clip_skip)


def read_sampler(body: Mapping[str, Any]) -> str:
    """Return the sampler; an empty text for the default of the model.

    Raises:
        FieldError: neither A1111 nor artgen has a sampler of this name.
    """
    sampler = read_text(body, "sampler_name") or read_text(body, "sampler_index")
    if sampler.lower() in DEFAULT_NAMES:
        return ""
    try:
        find_scheduler(split_spacing(sampler)[0])
    except UsageError as error:
        if normalize_name(split_spacing(sampler)[0]) not in _UNSUPPORTED:
            raise FieldError(f"Sampler not found: {error.message} {error.hint}", "sampler_name", NOT_FOUND) from None
    return sampler


def hires_network(body: Mapping[str, Any]) -> str:
    """Return the upscaling network of artgen that `hr_upscaler` names; an empty text for another method."""
    name = read_text(body, "hr_upscaler")
    return name if read_flag(body, "enable_hr") and name in upscaler_entries() else ""


def _hires_pairs(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not read_flag(body, "enable_hr"):
        return
    width, height = (read_integer(body, name, 0, 0, MAX_SIDE_PX) for name in ("hr_resize_x", "hr_resize_y"))
    if width or height:
        yield "Hires resize", f"{width}x{height}"
    else:
        yield "Hires upscale", f"{read_number(body, 'hr_scale', DEFAULT_HIRES_SCALE, 0, 100):g}"
    if steps := read_integer(body, "hr_second_pass_steps", 0, 0, MAX_STEPS):
        yield "Hires steps", str(steps)
    yield "Hires upscaler", "Lanczos" if hires_network(body) else read_text(body, "hr_upscaler") or "Latent"
    if body.get("denoising_strength") is not None:
        yield "Denoising strength", f"{read_number(body, 'denoising_strength', 0, 0, 1):g}"


def _clip_skip(body: Mapping[str, Any]) -> int:
    overrides = read_object(body, "override_settings")
    name = "CLIP_stop_at_last_layers"
    return read_integer(overrides, name, 0, 0, 12) or read_integer(body, "clip_skip", 0, 0, 12)
