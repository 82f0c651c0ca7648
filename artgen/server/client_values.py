"""Check the values of clients: no value may name a file, a folder or a URL of the server."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import setting_name
from artgen.queue.keys import Keys
from artgen.registry.catalog import known_models
from artgen.server.uploads import UploadedFiles
from artgen.spec.control import parse_control
from artgen.spec.embedding import parse_embedding
from artgen.spec.fields import describe_value
from artgen.spec.image_prompt import parse_image_prompt
from artgen.spec.lora import parse_lora
from artgen.spec.prompt_tags import find_tags, parse_lora_tag
from artgen.spec.refiner import parse_refiner

FILE_SETTINGS = ("image", "mask")
"""Settings whose value is one uploaded file."""

FILE_LIST_SETTINGS = ("reference",)
"""Settings whose values are uploaded files."""

NAME_SETTINGS = ("hires_model", "mask_model", "model", "score_model", "upscale_model", "vae")
"""Settings whose value is the name of a model."""

REFUSED_SETTINGS = ("output", "save_mask")
"""Settings that name a file to write."""


def replace_references(values: Any, files: UploadedFiles) -> Any:
    """Return a job in which `upload:NAME` is replaced by files in memory.

    Raises:
        UsageError: a value names a file, a folder or a URL.
    """
    if not isinstance(values, Mapping):
        return values  # `parse_settings` raises the error
    fields = {str(key): value for key, value in values.items() if value is not None}
    names, _ = Keys().split(fields)
    return {key: _replace(names.get(key) or _setting_name(key), value, files) for key, value in fields.items()}


def _setting_name(key: str) -> str:
    """Return the setting of a key of a record; the key itself if it is unknown."""
    try:
        return setting_name(key)
    except UsageError:
        return key


def check_files(values: Mapping[str, Any], files: UploadedFiles) -> None:
    """Check that all files in the settings of a job are uploaded files, after the settings were parsed.

    Raises:
        UsageError: a value names another file.
    """
    paths: list[tuple[str, Path | None]] = [(name, values.get(name)) for name in FILE_SETTINGS]
    paths += [(name, Path(text)) for name in FILE_LIST_SETTINGS for text in values.get(name, ())]
    paths += [("control", parse_control(text).image) for text in values.get("control", ())]
    for text in values.get("image_prompt", ()):
        spec = parse_image_prompt(text)
        paths += [("image_prompt", spec.image), ("image_prompt", spec.mask)]
    for name, path in paths:
        if path is not None and not files.contains(path):
            raise UsageError(f"Cannot use {describe_value(path.name)} as {name}: it is not an uploaded file.")


def check_prompt_tags(prompt: str) -> None:
    """Check that the LoRA tags of a prompt with resolved wildcards name no paths.

    Raises:
        UsageError: a tag names a path or a URL, or is invalid.
    """
    for tag in find_tags(prompt):
        if tag.is_lora:
            check_name("lora", parse_lora_tag(tag)[0].name)


def _replace(name: str, value: Any, files: UploadedFiles) -> Any:
    if name in REFUSED_SETTINGS:
        raise UsageError(f"A job of the server takes no {name}: it names a file of the server.", f"Remove {name}.")
    if name in FILE_SETTINGS:
        return files.find(name, value)
    items = value if isinstance(value, list | tuple) else [value]
    if name in FILE_LIST_SETTINGS:
        return [files.text(name, item) for item in items]
    convert = CONVERTERS.get(name)
    if convert is None:
        return value
    if not all(isinstance(item, str) for item in items):
        return value  # `parse_settings` raises the error
    found = [convert(name, item, files) for item in items]
    return found if isinstance(value, list | tuple) else found[0]


def _model_name(name: str, text: str, files: UploadedFiles) -> str:  # noqa: ARG001
    check_name(name, text)
    return text


def _lora(name: str, text: str, files: UploadedFiles) -> str:  # noqa: ARG001
    check_name(name, parse_lora(text).name)
    return text


def _embedding(name: str, text: str, files: UploadedFiles) -> str:  # noqa: ARG001
    check_name(name, parse_embedding(text).name)
    return text


def _refiner(name: str, text: str, files: UploadedFiles) -> str:  # noqa: ARG001
    check_name(name, parse_refiner(text).model)
    return text


def _control(name: str, text: str, files: UploadedFiles) -> str:
    spec = parse_control(text)
    if spec.model is not None:
        check_name(name, spec.model)
    return str(spec._replace(image=files.text_path(name, str(spec.image))))


def _image_prompt(name: str, text: str, files: UploadedFiles) -> str:
    spec = parse_image_prompt(text)
    if spec.model is not None:
        check_name(name, spec.model)
    mask = None if spec.mask is None else files.text_path(name, str(spec.mask))
    return str(spec._replace(image=files.text_path(name, str(spec.image)), mask=mask))


CONVERTERS = {
    **dict.fromkeys(NAME_SETTINGS, _model_name),
    "control": _control,
    "embedding": _embedding,
    "image_prompt": _image_prompt,
    "lora": _lora,
    "refiner": _refiner,
}

_NAME = re.compile(r"[^\W_][\w.@+() -]*(?:/[^\W_][\w.@+() -]*){0,2}", re.UNICODE)
"""A name in the user's folders, an alias, or `owner/name[/file]` on the hub."""


def check_name(setting: str, text: str) -> None:
    """Check that a text is a name and not a path or a URL.

    Raises:
        UsageError: the text is a path, a URL, or the name of a file in the working directory of the server.
    """
    parts = (text, *text.partition("@")[::2], *text.partition("+")[::2]) if _NAME.fullmatch(text) else ()
    files = [f"{part}{suffix}" for part in parts for suffix in ("", ".safetensors") if part]
    is_alias = text.partition("@")[0] in known_models()
    if not parts or ".." in text or (not is_alias and any(map(os.path.lexists, files))):
        raise UsageError(
            f"Cannot use {describe_value(text)} as {setting}: the server accepts names, not paths and URLs.",
            "Use a name of `artgen models list` on the server, or a name in its model folders.",
        )
