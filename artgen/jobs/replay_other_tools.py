"""Convert the metadata of AUTOMATIC1111 and ComfyUI to a record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.jobs.replay_files import find_lora
from artgen.spec.records import from_record

A1111_KEYS = ("prompt", "negative_prompt", "steps", "scheduler", "sigmas", "guidance_scale", "seed", "width", "height")
"""Supported fields. The model is not supported, because other tools name models differently."""

IGNORED_KEYS = frozenset({"model", "model_hash", "Version", "RNG", "lora", "lora_autov3", "Lora hashes"})
"""Fields that are ignored without a note: another note mentions the field, or the field does not affect the pixels."""

MAX_LISTED_FIELDS = 8
MAX_VALUE_CHARS = 80


def to_record(path: Path, fields: Mapping[str, Any], changes: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return a record without unsupported values, and a note for each of these values.

    Args:
        path: image; its folder is searched for LoRAs.
        fields: metadata; see `artgen.metadata.read_metadata`.
        changes: settings that `--set` replaces.
    """
    record = {"task": "txt2img", **{name: fields[name] for name in ("prompt", "negative_prompt") if name in fields}}
    notes = []
    for name in A1111_KEYS:
        if name not in fields or name in record or name in changes:
            continue
        # Sigmas belong to the scheduler. Do not combine them with another scheduler.
        lacks_scheduler = name == "sigmas" and "scheduler" not in record and "scheduler" in fields
        if lacks_scheduler and "scheduler" in changes:
            continue
        value = fields[name]
        if not lacks_scheduler and _is_valid(record, name, value):
            record[name] = value
        else:
            replacement = "A random seed" if name == "seed" else "The default of the model"
            notes.append(
                f"The {name} {str(value)[:MAX_VALUE_CHARS]!r} is not supported. {replacement} is used instead."
            )
    if unsupported := [name for name in fields if name not in A1111_KEYS and name not in IGNORED_KEYS]:
        listed, hidden = unsupported[:MAX_LISTED_FIELDS], len(unsupported) - MAX_LISTED_FIELDS
        notes.append(f"Ignored metadata: {', '.join(listed)}{f' and {hidden} more' if hidden > 0 else ''}.")
    if fields.get("model") and "model" not in changes:
        notes.append(
            f"The image was generated with the model {fields['model']!r} of another tool. To set the model, add "
            "--set model=NAME."
        )
    if "lora" not in changes:
        loras, lora_notes = _find_loras(path, fields)
        notes += lora_notes
        if loras:
            record["lora"] = loras
    return record, notes


def _is_valid(record: Mapping[str, Any], name: str, value: Any) -> bool:
    try:
        from_record({**record, name: value})
    except UsageError:
        return False
    return True


def _find_loras(path: Path, fields: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the LoRAs that have the recorded hash, and a note for each of the others."""
    found, notes = [], []
    for text, digest in zip(fields.get("lora", ()), fields.get("lora_autov3", ()), strict=False):
        try:
            found.append(find_lora(path, text, digest))
        except InputFileError:
            notes.append(f"The LoRA {text} was not found, or has another hash. To use it, add --set lora=PATH:SCALE.")
    return found, notes
