"""Read the fields that generations and edits of OpenAI's API share, and convert them to a line of a prompt file."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from artgen.queue.entries import parse_text_value
from artgen.server.openai.errors import FieldError
from artgen.spec.fields import describe_value

MAX_IMAGES = 10
"""Largest `n` of OpenAI's API."""

MAX_PROMPT_CHARS = 32_000
"""Longest prompt of OpenAI's API."""

OUTPUT_FORMATS = ("png", "jpeg", "webp")

SETTING_FIELDS = (
    "clip_skip", "guidance_rescale", "guidance_scale", "negative_prompt", "scheduler", "seed", "sigmas", "steps",
)  # fmt: skip
"""Settings of artgen that a request may contain in addition to the fields of OpenAI's API."""

IGNORED_FIELDS = frozenset({"input_fidelity", "moderation", "quality", "safety_identifier", "style", "user"})
"""Fields of OpenAI's API without an equivalent. OpenAI's clients send them to all models."""

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True)
class ImagesRequest:
    """Store a request of OpenAI's images API.

    Attributes:
        line: settings of the job, as in a line of a prompt file. `upload:NAME` is an uploaded file.
        uploads: content of the uploaded files, by name.
        as_url: return links instead of the content of the images.
        output_format: png, jpeg or webp.
        quality: quality of jpeg and webp, 0 to 100; None: the default of artgen.
    """

    line: Mapping[str, Any]
    uploads: Mapping[str, bytes]
    as_url: bool = False
    output_format: str = "png"
    quality: int | None = None


def check_fields(body: Mapping[str, Any], own: Collection[str] = ()) -> None:
    """Check the names of the fields.

    Args:
        body: fields of the request.
        own: fields that only this kind of request has.

    Raises:
        FieldError: a field is unknown, or it requests something that artgen does not support.
    """
    known = {
        *IGNORED_FIELDS, *SETTING_FIELDS, *own, "background", "model", "n", "output_compression", "output_format",
        "partial_images", "prompt", "response_format", "size", "stream",
    }  # fmt: skip
    for name, value in body.items():
        if name not in known:
            raise FieldError(f"Unknown parameter: {describe_value(name)}.", str(name)[:64], "unknown_parameter")
        if name == "stream" and value not in (None, False, "false"):
            raise FieldError("stream must be false: artgen does not send partial images.", "stream")
    background = read_choice(body, "background", ("auto", "opaque", "transparent"), "auto")
    if background == "transparent":
        raise FieldError("background must be 'auto' or 'opaque': the models generate no transparency.", "background")


def read_line(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a request: prompt, model, number and size of the images, and settings of artgen.

    Raises:
        FieldError: a value has the wrong type or is outside its limits.
    """
    line: dict[str, Any] = {"prompt": read_prompt(body), "count": read_integer(body, "n", 1, MAX_IMAGES) or 1}
    if (model := body.get("model")) not in (None, ""):
        if not isinstance(model, str):
            raise FieldError(f"model must be a text, not {describe_value(model)}.", "model", "invalid_type")
        line["model"] = model
    if (size := read_size(body)) is not None:
        line["width"], line["height"] = size
    line |= {name: _setting(name, body[name]) for name in SETTING_FIELDS if body.get(name) not in (None, "")}
    return line


def _setting(name: str, value: Any) -> Any:
    """Return the value of a setting of artgen. The fields of a form are texts."""
    return parse_text_value(name, value) if isinstance(value, str) else value


def read_output(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `ImagesRequest` for the form of the result.

    Raises:
        FieldError: a value is not supported.
    """
    response_format = read_choice(body, "response_format", ("b64_json", "url"), "b64_json")
    output_format = read_choice(body, "output_format", OUTPUT_FORMATS, "png")
    quality = read_integer(body, "output_compression", 0, 100)
    if quality is not None and output_format == "png":
        raise FieldError("output_compression needs output_format 'jpeg' or 'webp'.", "output_compression")
    return {"as_url": response_format == "url", "output_format": output_format, "quality": quality}


def read_prompt(body: Mapping[str, Any]) -> str:
    """Return the prompt.

    Raises:
        FieldError: the prompt is missing, empty, too long or not a text.
    """
    prompt = body.get("prompt")
    if prompt is None:
        raise FieldError("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
    if not isinstance(prompt, str):
        raise FieldError(f"prompt must be a text, not {describe_value(prompt)}.", "prompt", "invalid_type")
    if not prompt.strip():
        raise FieldError("prompt must not be empty.", "prompt", "empty_string")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise FieldError(
            f"prompt must have at most {MAX_PROMPT_CHARS:,} characters, not {len(prompt):,}.",
            "prompt",
            "string_above_max_length",
        )
    return prompt


def read_size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height in pixels; None for the size of the model, or of the input image.

    Raises:
        FieldError: the value is neither `auto` nor WIDTHxHEIGHT.
    """
    size = body.get("size")
    if size in (None, "", "auto"):
        return None
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise FieldError(f"size must be 'auto' or WIDTHxHEIGHT, such as '512x512', not {describe_value(size)}.", "size")
    return int(match[1]), int(match[2])


def read_integer(body: Mapping[str, Any], name: str, minimum: int, maximum: int) -> int | None:
    """Return a whole number; None if the field is missing. The fields of a form are texts.

    Raises:
        FieldError: the value is not a whole number, or outside the limits.
    """
    value = body.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FieldError(f"{name} must be a whole number, not {describe_value(value)}.", name, "invalid_type")
    if not minimum <= value <= maximum:
        code = "integer_below_min_value" if value < minimum else "integer_above_max_value"
        raise FieldError(f"{name} must be {minimum} to {maximum}, not {value}.", name, code)
    return value


def read_choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    """Return one of several texts.

    Raises:
        FieldError: the value is another one.
    """
    value = body.get(name)
    if value in (None, ""):
        return default
    if value not in choices:
        raise FieldError(f"{name} must be {' or '.join(map(repr, choices))}, not {describe_value(value)}.", name)
    return str(value)


def read_generation(body: Mapping[str, Any]) -> ImagesRequest:
    """Convert the JSON of `/v1/images/generations`.

    Raises:
        FieldError: a field is not valid or not supported.
    """
    check_fields(body)
    return ImagesRequest({"task": "txt2img", **read_line(body)}, {}, **read_output(body))
