"""Convert the fields of `txt2img` and `img2img` to a job.

The fields are first converted to the parameters of A1111's text. Then the conversion of `replay` for images of A1111
is used: names of samplers and schedules, hires fix, variation seeds and notes about what artgen does not support.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.jobs import replay_other_tools
from artgen.metadata import ExternalRecord
from artgen.metadata.a1111_text import A1111Text
from artgen.metadata.tools.a1111 import record_of_text
from artgen.server.a1111.controlnet import ControlUnits, read_units
from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.image_fields import decode_base64, init_image, resize_images
from artgen.server.a1111.request_pairs import DEFAULT_NAMES, MAX_SEED, hires_network, parameter_pairs, read_sampler
from artgen.server.a1111.styles import find_styles
from artgen.server.a1111.typed_fields import read_flag, read_integer, read_list, read_number, read_object, read_text
from artgen.server.a1111.unsupported import unsupported_fields
from artgen.spec.fields import describe_value
from artgen.spec.settings.sampling import MAX_SIDE_PX

MAX_IMAGES = 1000
"""Limit of `batch_size` and of `n_iter`. The server has a lower limit for their product."""

FILLS = ("blur", "original", "noise", "blur")
"""Value of `fill` for each `inpainting_fill`: fill, original, latent noise, latent nothing."""

_FILL_NOTES = {
    2: "inpainting_fill 2 (latent noise) is replaced by random pixels.",
    3: "inpainting_fill 3 (latent nothing) is not supported; the surroundings are blurred instead.",
}
_MODEL_SUFFIX = re.compile(r"(?:\.safetensors)?(?: \[[0-9a-fA-F]{8,64}\])?$")
_SET_HINT = re.compile(r" To [a-z ]+, add --set [^ ]+\.$")


@dataclass(frozen=True)
class GenerationRequest:
    """Store a request for images.

    Attributes:
        line: settings of the job, as in a line of a prompt file. `upload:NAME` is an uploaded file.
        uploads: content of the uploaded files, by name.
        notes: what is converted or ignored, one sentence each.
        unsupported: fields that A1111 supports and artgen does not, with their values.
        send_images: return the images.
        batch_size: number of images of a batch in A1111; affects only `info`.
    """

    line: Mapping[str, Any]
    uploads: Mapping[str, bytes]
    notes: tuple[str, ...]
    unsupported: Mapping[str, str]
    send_images: bool = True
    batch_size: int = 1


def read_txt2img(body: Mapping[str, Any], default_model: str | None) -> GenerationRequest:
    """Convert the fields of `/sdapi/v1/txt2img`.

    Args:
        body: fields of the request. Unknown fields are ignored, as A1111 does.
        default_model: model of a request without a model; None: the default of artgen.

    Raises:
        FieldError: a field is not valid, or a net of a ControlNet unit is unknown.
    """
    units = read_units(body, has_init_image=False)
    record, notes = _convert(body, {}, units)
    line = {**record, "task": "txt2img", **_size(body), **_shared_settings(body, default_model)}
    if (network := hires_network(body)) and line.get("hires"):
        line |= {"hires_model": network, "hires_in": None}
    return _request(body, line, units.uploads, notes)


def read_img2img(body: Mapping[str, Any], default_model: str | None, max_pixels: int) -> GenerationRequest:
    """Convert the fields of `/sdapi/v1/img2img`; see `read_txt2img`.

    Args:
        body: see `read_txt2img`.
        default_model: see `read_txt2img`.
        max_pixels: limit of width times height of an image.

    Raises:
        FieldError: see `read_txt2img`.
        InputFileError: an image cannot be decoded.
    """
    uploads = {"image": init_image(body)}
    mask = body.get("mask")
    if mask:
        uploads["mask"] = decode_base64(mask, "mask")
    units = read_units(body, has_init_image=True)
    files = {name: f"upload:{name}" for name in uploads}
    record, notes = _convert(body, files, units)
    line = {**record, **files, **_shared_settings(body, default_model)}
    is_cropped = False
    if mask:
        inpaint, more_notes = _inpaint_settings(body)
        line |= inpaint
        notes = [*notes, *more_notes]
        is_cropped = "only_masked" in inpaint
    size = {} if is_cropped else _size(body)
    line |= size
    if len(size) > 1:
        uploads = dict(resize_images(body, uploads, (size["width"], size["height"]), max_pixels))
    if len(read_list(body, "init_images")) > 1:
        notes = [*notes, "Only the first of init_images is used."]
    return _request(body, line, {**uploads, **units.uploads}, notes)


def _convert(
    body: Mapping[str, Any], files: Mapping[str, str], units: ControlUnits
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that A1111's text can contain, and notes."""
    task = "inpaint" if "mask" in files else "img2img" if files else "txt2img"
    prompt, negative = (read_text(body, name) for name in ("prompt", "negative_prompt"))
    pairs = tuple(parameter_pairs(body, task))
    external = record_of_text(A1111Text(prompt, negative, pairs, has_parameters=True))
    fields = {**external.fields, "task": task}
    nets = tuple(units.nets)
    external = replace(external, fields=fields, loras=(), embeddings=(), nets=nets, features=_features(external))
    changes = {"model": "", "lora": "", "embedding": "", **files}
    try:
        record, notes = replay_other_tools.to_record(Path(), external, changes, units.paths)
    except UsageError as error:
        raise FieldError(error.message.replace("the recorded ", "the "), "alwayson_scripts") from None
    if units.texts:
        record["control"] = (*units.texts, *record.get("control", ()))
    # The tags of the prompt name LoRAs in the folders of the server, as in A1111.
    record |= {"prompt": prompt, "negative_prompt": negative}
    return record, [_SET_HINT.sub("", note) for note in notes if not note.startswith("The size of the input image")]


def _size(body: Mapping[str, Any]) -> dict[str, int]:
    """Return the sides that the request contains, in pixels."""
    sides = {name: read_integer(body, name, 0, 0, MAX_SIDE_PX) for name in ("width", "height")}
    return {name: side for name, side in sides.items() if side}


def _features(external: ExternalRecord) -> tuple[Any, ...]:
    return tuple(each for each in external.features if each.name not in ("LoRA tag", "hypernetwork"))


def _shared_settings(body: Mapping[str, Any], default_model: str | None) -> dict[str, Any]:
    """Return the number of images, the seeds and the model.

    The first seed is chosen here if it is -1: the following images have the following seeds, as in A1111.
    """
    batch_size, num_batches = (read_integer(body, name, 1, 1, MAX_IMAGES) for name in ("batch_size", "n_iter"))
    seed = read_integer(body, "seed", -1, -1, MAX_SEED)
    settings: dict[str, Any] = {
        "seed": str(secrets.randbelow(2**32) if seed < 0 else seed),
        "count": batch_size * num_batches,
    }
    if (strength := read_number(body, "subseed_strength", 0.0, 0.0, 1.0)) > 0:
        subseed = read_integer(body, "subseed", -1, -1, MAX_SEED)
        settings["variation_seed"] = secrets.randbelow(2**32) if subseed < 0 else subseed
        settings["variation_strength"] = strength
    if model := requested_model(body) or default_model:
        settings["model"] = model
    if styles := find_styles(read_list(body, "styles"))[0]:
        settings["style"] = styles
    return settings


def requested_model(body: Mapping[str, Any]) -> str | None:
    """Return the model of `override_settings`; None if the request has no model."""
    name = read_text(read_object(body, "override_settings"), "sd_model_checkpoint")
    return model_name(name) or None


def model_name(title: str) -> str:
    """Return the name of a model without the suffix of a file and the hash of A1111's titles."""
    return _MODEL_SUFFIX.sub("", title.strip())


def _inpaint_settings(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the mask, and notes. The mask is resized to the image, as A1111 does."""
    settings: dict[str, Any] = {"resize_mask": True}
    fill = read_integer(body, "inpainting_fill", 0, 0, len(FILLS) - 1)
    settings["fill"] = FILLS[fill]
    if read_integer(body, "inpainting_mask_invert", 0, 0, 1):
        settings["invert_mask"] = True
    if read_flag(body, "inpaint_full_res", default=True):
        settings["only_masked"] = read_integer(body, "inpaint_full_res_padding", 0, 0, MAX_SIDE_PX)
    notes = [_FILL_NOTES[fill]] if fill in _FILL_NOTES else []
    if blur := read_integer(body, "mask_blur", 4, 0, 512):
        settings["feather"] = blur
        notes.append(f"mask_blur {blur} blurs only the inside of the mask.")
    return settings, notes


def _request(
    body: Mapping[str, Any], line: Mapping[str, Any], uploads: Mapping[str, bytes], notes: list[str]
) -> GenerationRequest:
    notes += [f"The style {describe_value(name)} was not found." for name in find_styles(read_list(body, "styles"))[1]]
    return GenerationRequest(
        {name: value for name, value in line.items() if value is not None},
        uploads,
        tuple(dict.fromkeys(notes)),
        {**unsupported_fields(body), **_replaced_names(body, line)},
        read_flag(body, "send_images", default=True),
        read_integer(body, "batch_size", 1, 1, MAX_IMAGES),
    )


def _replaced_names(body: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of a sampler, a schedule and an upscaler that artgen does not have, by field."""
    sampler, schedule, upscaler = read_sampler(body), read_text(body, "scheduler"), read_text(body, "hr_upscaler")
    found = {}
    if sampler and not line.get("scheduler"):
        found["sampler_name"] = sampler
    if schedule.lower() not in DEFAULT_NAMES and not line.get("sigmas"):
        found["scheduler"] = schedule
    if read_flag(body, "enable_hr") and upscaler not in ("", "Latent", "Lanczos", line.get("hires_model")):
        found["hr_upscaler"] = upscaler
    return {name: describe_value(text) for name, text in found.items()}
