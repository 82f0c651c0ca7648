"""Read the generation parameters of an image, as A1111's `png-info` does."""

from collections.abc import Mapping
from typing import Any

from artgen.errors import InputFileError
from artgen.metadata.a1111_text import split_a1111
from artgen.metadata.containers import extract_texts
from artgen.server.a1111.image_fields import decode_base64
from artgen.system.memory_file import MemoryFile

PARAMETER_TEXTS = ("parameters", "UserComment")
"""Names of the texts that contain the parameters."""


def png_info_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON body of the response: the text of A1111, the other texts, and the parameters by name.

    Raises:
        FieldError: the request has no image.
        InputFileError: the image is damaged.
    """
    content = decode_base64(body.get("image"), "image")
    raw = extract_texts(MemoryFile.create("image", content))
    if not raw.is_image:
        raise InputFileError("Cannot read the image: its format is unknown.")
    text = next((raw.texts[name] for name in PARAMETER_TEXTS if raw.texts.get(name)), "")
    items = {name: value for name, value in raw.texts.items() if name not in PARAMETER_TEXTS}
    return {"info": text, "items": items, "parameters": _parameters(text) if text else {}}


def _parameters(text: str) -> dict[str, Any]:
    split = split_a1111(text)
    values: dict[str, Any] = {"Prompt": split.prompt, "Negative prompt": split.negative_prompt, **dict(split.pairs)}
    width, _, height = str(values.get("Size", "")).partition("x")
    if width and height:
        values |= {"Size-1": width, "Size-2": height}
    return values
