"""Convert a request to a flat JSON record and back.

A record is the metadata of an image, an entry of a ledger, or a line of a prompt file. It contains the settings of the
request by name and the provenance of the image: hashes, versions and others. `from_record` ignores the provenance.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.spec.lora import LoraSpec
from artgen.spec.requests import TASKS, Request
from artgen.spec.settings import canonical_keys, options_of, settings_of, type_of, unknown_setting_error

PROVENANCE_KEYS = (
    "artgen",
    "task",
    "model_source",
    "model_revision",
    "model_variant",
    "model_hash",
    "architecture",
    "lora_sha256",
    "lora_autov3",
    "width",
    "height",
    "image_sha256",
    "mask_sha256",
    "sigma_estimated",
    "batch_size",
    "fast_parts",
    "rounding",
    "dropped_prompt",
    "dropped_negative_prompt",
    "fallbacks",
    "torch",
    "diffusers",
    "transformers",
    "scikit-image",
)
"""Keys of the provenance. Width and height are settings of some tasks, and provenance in the records of the others."""

JSON_ONLY_KEYS = ("file", "frames", "before", "after", "source")
"""Keys that `--json` adds to a record: the paths of the image and its frames, measurements, and the metadata source."""


def to_record(request: Request, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the record of a request: `task`, all settings that have a value, then `provenance`.

    Input files and LoRAs are recorded without their folders, which are private. Their SHA-256 in the provenance
    identifies them.
    """
    record: dict[str, Any] = {"task": request.task}
    for name, setting in settings_of(type(request)).items():
        value = getattr(request, name)
        if value in (None, ()) or not setting.recorded:
            continue
        record[name] = value.name if isinstance(value, Path) else value
    if "lora" in record:
        record["lora"] = [str(LoraSpec(lora.file_name, lora.scale)) for lora in request.loras]
    return {**record, **(provenance or {})}


def from_record(record: Mapping[str, Any]) -> Request:
    """Return the request of a record.

    Raises:
        UsageError: the task or a key is unknown, or a value is outside the limits of its setting.
    """
    task = record.get("task", "txt2img")
    if not isinstance(task, str) or task not in TASKS:
        raise UsageError(f"Unknown task: {task!r}.", f"Tasks: {', '.join(TASKS)}.")
    cls = TASKS[task].request_class
    known = options_of(cls)
    values: dict[str, Any] = {}
    for name, value in canonical_keys(record, known).items():
        if name not in known and name in PROVENANCE_KEYS:
            continue
        if name not in known:
            raise UsageError(*unknown_setting_error(name, known))
        values[name] = _from_json(cls, name, value)
    return cls(**values)


def _from_json(cls: type, name: str, value: Any) -> Any:
    kind, _ = type_of(cls, name)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # `validate` rejects integers that are too large for a float.
            return float(value)
    return value
