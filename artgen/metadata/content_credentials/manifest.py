"""Convert a record to the definition of a C2PA manifest (C2PA Technical Specification 2.2, https://spec.c2pa.org)."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from artgen._version import __version__
from artgen.metadata.a1111 import public_model_name
from artgen.metadata.writing import source_type

PARENT = "parentOf"
INPUT = "inputTo"
"""Relationships of ingredients: the image that was changed, and other inputs of the model."""

GENERATION_LABEL = "org.artgen.generation"
"""Label of the assertion with the models, see `generation_facts`."""

TRAINING = "training"
"""Key of the datasheets and licenses of training images, see `artgen.outputs.training_facts`."""

MODEL_FIELDS = (
    "model", "model_hash", "model_source", "model_revision", "upscale_model", "upscale_model_source",
    "upscale_model_sha256", "lora", "lora_sha256", "method", TRAINING,
)  # fmt: skip
"""Fields of a record that the manifest contains: models, their hashes, and the datasheets of their training data."""

_MEDIA_TYPES = {
    "png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "tiff": "image/tiff", "mp4": "video/mp4",
}  # fmt: skip
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_BRANDS = {b"avif": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif"}
_EDITS = {"upscale": "c2pa.resized"}


@dataclass(frozen=True)
class Parent:
    """Describe an input image of a signed image.

    Attributes:
        name: file name without folders, which the manifest contains; empty: no name.
        data: content of the file; None if it is unknown, for example because the file was changed.
        relationship: `PARENT` or `INPUT`. A signed image has at most one parent with `PARENT`.
    """

    name: str
    data: bytes | None = field(repr=False)
    relationship: str = PARENT


def media_type(format: str) -> str:  # noqa: A002 - Pillow's word
    """Return the media type of an output format: png, jpeg, webp, gif, tiff or mp4."""
    return _MEDIA_TYPES[format.lower()]


def sniff_media_type(data: bytes) -> str:
    """Return the media type of an image file from its first bytes; empty if a manifest cannot be in such a file."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), "")


def build_manifest(record: Mapping[str, object], parents: Sequence[Parent], level: str) -> dict[str, Any]:
    """Return the definition of the manifest of an image, as JSON values.

    The manifest contains the software, the actions with the digital source type, and at the metadata levels `minimal`
    and `full` the models. It does not contain prompts.

    Args:
        record: record of the image.
        parents: input images, in the order of `ingredient_id`. The definition contains those without data; c2pa adds
            the others from their files.
        level: metadata level of the image, see `artgen.metadata.METADATA_LEVELS`.
    """
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": _actions(record, parents)}}]
    if facts := generation_facts(record, level):
        assertions.append({"label": GENERATION_LABEL, "data": facts})
    unknown = [
        ingredient_definition(parent, number, level) for number, parent in enumerate(parents) if parent.data is None
    ]
    return {
        "claim_generator_info": [{"name": "artgen", "version": __version__}],
        "assertions": assertions,
        "ingredients": unknown,
    }


def generation_facts(record: Mapping[str, object], level: str) -> dict[str, Any]:
    """Return the content of the assertion `GENERATION_LABEL`: models, hashes and the datasheets of training data."""
    if level == "none":
        return {}
    names = MODEL_FIELDS if level == "full" else ("model",)
    facts: dict[str, Any] = {name: value for name in names if (value := record.get(name)) not in (None, "", [], ())}
    if "model" in facts:
        facts["model"] = public_model_name(facts["model"])
    if "task" in record and level == "full":
        facts["task"] = record["task"]
    return facts


def ingredient_id(number: int) -> str:
    """Return the identifier of a parent by its position, with which actions refer to it."""
    return f"ingredient-{number}"


def ingredient_definition(parent: Parent, number: int, level: str) -> dict[str, Any]:
    """Return the definition of an ingredient, as JSON values.

    Args:
        parent: input image.
        number: position of the parent.
        level: metadata level of the signed image. The ingredient has the name of the file only at the level `full`.
    """
    name = posixpath.basename(parent.name) if level == "full" else ""
    definition = {"relationship": parent.relationship, "label": ingredient_id(number)}
    if name:
        definition["title"] = name
    if kind := sniff_media_type(parent.data or b""):
        definition["format"] = kind
    return definition


def _actions(record: Mapping[str, object], parents: Sequence[Parent]) -> list[dict[str, Any]]:
    """Return the actions of the manifest. The first is `c2pa.created`, or `c2pa.opened` with the input image."""
    software = {"name": "artgen", "version": __version__}
    digital_source_type = source_type(record)
    opened = [number for number, parent in enumerate(parents) if parent.relationship == PARENT]
    inputs = [ingredient_id(number) for number, parent in enumerate(parents) if parent.relationship != PARENT]
    parameters = {"parameters": {"ingredientIds": inputs}} if inputs else {}
    if not opened:
        action = {"action": "c2pa.created", "softwareAgent": software, "digitalSourceType": digital_source_type}
        return [action | parameters]
    edit = _EDITS.get(str(record.get("task")), "c2pa.edited")
    return [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [ingredient_id(opened[0])]}},
        {"action": edit, "softwareAgent": software, "digitalSourceType": digital_source_type, **parameters},
    ]
