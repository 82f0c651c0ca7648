"""Request <-> one flat JSON record: a line of a prompt file, a picture's metadata, a ledger entry, `replay --set`.

A record holds a request's settings under their own names, plus facts about what ran. Facts are written, never
obeyed: reading a record back gives a request without them.
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
"""Keys of a record that are no settings (width and height: of the tasks that do not take them)."""

JSON_ONLY_KEYS = ("file", "frames", "before", "after", "source")
"""Keys that `--json` prints beside a record: where the picture and its frames are, what was measured, who said it."""


def to_record(request: Request, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The flat record of a request: `task`, every setting that has a value, then `provenance`.

    Input files and LoRAs are recorded by name alone: their SHA-256 in the facts says which they were, and a folder's
    path is nobody else's business.
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
    """The request that a record describes; facts are left out.

    Raises:
        UsageError: an unknown task, an unknown key (with close names), or a value outside its setting's limits.
    """
    task = record.get("task", "txt2img")
    if not isinstance(task, str) or task not in TASKS:
        raise UsageError(f"There is no task called {task!r}.", f"Tasks: {', '.join(TASKS)}.")
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
        with contextlib.suppress(OverflowError):  # too large for a float is too large for every setting
            return float(value)
    return value
