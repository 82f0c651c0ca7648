"""Convert the images of `reference`, `control` and `image_prompt` to texts that name files, some of them in memory."""

import os
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from artgen.api.inputs import input_file
from artgen.errors import UsageError
from artgen.spec.fields import describe_value
from artgen.spec.python_values import path_text
from artgen.system.memory_file import MemoryFile, name_in_memory

_CONTROL_KEYS = ("kind", "image", "scale", "from", "until", "model")
_IMAGE_PROMPT_KEYS = ("image", "scale", "mask", "model")

_ToText = Callable[[Any, list[MemoryFile]], str]


def convert_images(
    values: Mapping[str, Any], other: Container[str] = ()
) -> tuple[dict[str, Any], tuple[MemoryFile, ...]]:
    """Replace images in keywords by texts, and return the files in memory, which the texts name while they exist.

    Args:
        values: keywords of a call.
        other: keywords that are not converted: `reference` of `denoise` is one image.

    Raises:
        UsageError: a value is not an image, or a mapping has an unknown key or no image.
        InputFileError: a PIL image or a file object cannot be read.
    """
    files: list[MemoryFile] = []
    found = dict(values)
    for name, to_text in _CONVERTERS.items():
        value = values.get(name)
        if value is None or isinstance(value, str) or name in other:
            continue
        items = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        found[name] = tuple(to_text(item, files) for item in items)
    return found, tuple(files)


def _reference_text(value: Any, files: list[MemoryFile]) -> str:
    return _file_text(value, "reference", files)


def _image_prompt_text(value: Any, files: list[MemoryFile]) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return _file_text(value, "image_prompt", files)
    given = _check_keys("image_prompt", value, _IMAGE_PROMPT_KEYS, ("image",))
    parts = [_file_text(given.pop("image"), "image_prompt", files)]
    if "mask" in given:
        parts.append(f"mask={_file_text(given.pop('mask'), 'image_prompt', files)}")
    return ",".join([*parts, *_key_texts(given)])


def _control_text(value: Any, files: list[MemoryFile]) -> str:
    if isinstance(value, str | os.PathLike):
        return path_text(value, "control")
    if not isinstance(value, Mapping):
        raise UsageError(
            f"control must be a text or a mapping, not {describe_value(value)}.",
            'control={"kind": "canny", "image": image}',
        )
    given = _check_keys("control", value, _CONTROL_KEYS, ("kind", "image"))
    kind, image = given.pop("kind"), _file_text(given.pop("image"), "control", files)
    return ",".join([f"{kind}={image}", *_key_texts(given)])


_CONVERTERS: Mapping[str, _ToText] = {
    "reference": _reference_text,
    "control": _control_text,
    "image_prompt": _image_prompt_text,
}


def _check_keys(name: str, value: Mapping[Any, Any], known: Iterable[str], required: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a mapping without values that are None."""
    unknown = [key for key in value if key not in known]
    missing = [key for key in required if value.get(key) is None]
    if unknown or missing:
        problem = f"has no key {describe_value(unknown[0])}" if unknown else f"needs the key '{missing[0]}'"
        raise UsageError(f"A mapping of {name} {problem}.", f"Its keys are {', '.join(known)}.")
    return {key: each for key, each in value.items() if each is not None}


def _key_texts(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _file_text(value: Any, name: str, files: list[MemoryFile]) -> str:
    file = input_file(value, name)
    if not isinstance(file, MemoryFile):
        return str(file)
    files.append(file)
    return name_in_memory(file)
