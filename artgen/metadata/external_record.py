"""Define the record of an image that another tool generated. All readers of other tools' metadata return this type."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from artgen.spec.lora import LoraSpec

TOOL_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "a1111": "AUTOMATIC1111",
        "forge": "Forge",
        "sdnext": "SD.Next",
        "comfyui": "ComfyUI",
        "swarmui": "SwarmUI",
        "fooocus": "Fooocus",
        "invokeai": "InvokeAI",
        "novelai": "NovelAI",
        "mflux": "mflux",
        "easydiffusion": "Easy Diffusion",
        "drawthings": "Draw Things",
        "midjourney": "Midjourney",
    }
)
"""Identifiers of the tools, and their names in messages."""

FieldValue = str | int | float

FIELD_KINDS: Mapping[str, type[FieldValue]] = MappingProxyType(
    {
        "task": str,
        "prompt": str,
        "negative_prompt": str,
        "prompt_weights": str,
        "clip_skip": int,
        "seed": int,
        "variation_strength": float,
        "variation_seed": int,
        "steps": int,
        "guidance_scale": float,
        "guidance_rescale": float,
        "scheduler": str,
        "sigmas": str,
        "width": int,
        "height": int,
        "strength": float,
        "hires": str,
        "hires_in": str,
        "hires_steps": int,
        "seamless": str,
        "only_masked": int,
        "fill": str,
        "model": str,
        "model_hash": str,
        "vae": str,
    }
)
"""Fields of `ExternalRecord.fields` and their types. Each has the name and the meaning of a setting of artgen."""

MAX_VALUE_CHARS = 1000
"""Limit of a value in `ExternalRecord.other`; the rest is cut."""

_NUMBER_PATTERN = re.compile(r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True)
class RecordedFile:
    """Represent a LoRA or an embedding of a record.

    Attributes:
        name: file name, or the name in the prompt.
        digest: hash in hexadecimal digits: SHA-256 (64 digits or the first 10) or AutoV3 (12); empty if unknown.
        scale: scale in the denoiser. Embeddings have the scale 1.
        text_scale: scale in the text encoders; None is `scale`.
    """

    name: str
    digest: str = ""
    scale: float = 1.0
    text_scale: float | None = None

    def __str__(self) -> str:
        """Return `NAME:SCALE`, as in `--lora`."""
        return str(LoraSpec(self.name, self.scale, self.text_scale))


@dataclass(frozen=True)
class Feature:
    """Represent a property of the generation that is not a field, such as a ControlNet or hires fix.

    Attributes:
        name: name for users, such as "ControlNet".
        value: its value or details; may be empty.
        supported: artgen has the feature. `replay` prints a note for each feature; `reason` completes it.
        reason: sentence for the note of `replay`: what is missing, or the option that enables the feature.
    """

    name: str
    value: str = ""
    supported: bool = False
    reason: str = ""


@dataclass(frozen=True)
class RecordedNet:
    """Represent a ControlNet, a T2I-Adapter or an adapter for image prompts (IP-Adapter, Flux Redux) of a record.

    Attributes:
        setting: setting of artgen that has the feature: `control` or `image_prompt`.
        name: file name of the net, with AUTOMATIC1111's short hash in brackets, or a preset; empty if it is unknown.
        module: preprocessor in the other tool; empty if the image is used as it is.
        kind: name of the kind that a union net received; empty for other nets.
        scale: weight, 0 to 10.
        start: fraction of the steps before which the net is inactive, 0 to 1.
        end: fraction of the steps after which the net is inactive, 0 to 1.
        image: file name of the image; empty if the metadata does not contain it.
        notes: what has no equivalent in artgen, as parts of a sentence.
    """

    setting: str
    name: str
    module: str = ""
    kind: str = ""
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    image: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternalRecord:
    """Store the metadata of another tool. All values are untrusted; their types are validated.

    Attributes:
        tool: identifier of the tool; see `TOOL_NAMES`.
        fields: settings of artgen by name; see `FIELD_KINDS`. The limits of the settings are not validated. `task` is
            `img2img` or `inpaint` if the image had an input image, otherwise it is missing. `scheduler` is the name in
            the tool.
        loras: LoRAs; they are not in the prompt.
        embeddings: textual inversions that the prompts name.
        features: other properties that affect the image.
        other: remaining metadata: name and value.
        nets: ControlNets and adapters for image prompts. `features` names them too.
        notes: what was ignored or converted, and why, one sentence each.
    """

    tool: str
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    loras: tuple[RecordedFile, ...] = ()
    embeddings: tuple[RecordedFile, ...] = ()
    features: tuple[Feature, ...] = ()
    other: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    nets: tuple[RecordedNet, ...] = ()

    @property
    def tool_name(self) -> str:
        """Return the name of the tool for messages."""
        return TOOL_NAMES.get(self.tool, self.tool)

    @property
    def has_prompt(self) -> bool:
        """Return whether the record has a prompt. An empty prompt counts if the record has generation settings."""
        return "prompt" in self.fields

    def to_dict(self) -> dict[str, object]:
        """Return the values as JSON: the fields, `lora` and `embedding` with hashes, `features` and `other`."""
        values: dict[str, object] = dict(self.fields)
        for name, files in (("lora", self.loras), ("embedding", self.embeddings)):
            if files:
                values[name] = [str(file) if name == "lora" else file.name for file in files]
                values[f"{name}_hashes"] = [file.digest for file in files]
        if self.features:
            values["features"] = {
                feature.name: f"{feature.value}{'' if feature.supported else ' (not supported)'}".strip()
                for feature in self.features
            }
        if self.other:
            values["other"] = dict(self.other)
        return values


def valid_fields(values: Mapping[str, object]) -> tuple[dict[str, FieldValue], dict[str, str]]:
    """Convert raw values to `ExternalRecord.fields`.

    Returns:
        The fields with a valid type, and the rejected values as text. None is a missing value. Texts of numbers are
        converted; numbers are finite.
    """
    fields: dict[str, FieldValue] = {}
    rejected: dict[str, str] = {}
    for name, value in values.items():
        if value is None:
            continue
        converted = coerce(value, FIELD_KINDS[name]) if name in FIELD_KINDS else None
        if converted is None:
            rejected[name] = describe(value)
        else:
            fields[name] = converted
    return fields, rejected


def coerce(value: object, kind: type[FieldValue]) -> FieldValue | None:
    """Return a value as `kind`: text, a whole number or a finite number; None if it has another type."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER_PATTERN.fullmatch(text):
            return None
        value = float(text) if "." in text or "e" in text.lower() else int(text)
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    if kind is float:
        return number
    return int(value) if number.is_integer() else None


def describe(value: object) -> str:
    """Return a value of unknown type as text of at most `MAX_VALUE_CHARS` characters."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            value = str(type(value).__name__)
    return value if len(value) <= MAX_VALUE_CHARS else f"{value[:MAX_VALUE_CHARS]}..."


def describe_all(values: Mapping[str, object], names: Iterable[str] = ()) -> dict[str, str]:
    """Return the values as texts for `ExternalRecord.other`, without the values of `names`."""
    hidden = set(names)
    return {str(name)[:64]: describe(value) for name, value in values.items() if str(name) not in hidden}
