"""Convert the metadata of AUTOMATIC1111 and ComfyUI to a record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.jobs.replay_files import find_embedding, find_lora
from artgen.metadata import ExternalRecord
from artgen.spec.records import from_record

SUPPORTED_FIELDS = (
    "prompt", "negative_prompt", "steps", "scheduler", "sigmas", "guidance_scale", "seed", "width", "height"
)  # fmt: skip
"""Supported fields. The model is not supported, because other tools name models differently."""

IGNORED_KEYS = frozenset({"model", "model_hash", "Version", "RNG", "Lora hashes"})
"""Fields that are ignored without a note: another note mentions the field, or the field does not affect the pixels."""

MAX_LISTED_FIELDS = 8
MAX_VALUE_CHARS = 80


def to_record(path: Path, external: ExternalRecord, changes: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return a record without unsupported values, and a note for each of these values.

    Args:
        path: image; its folder is searched for LoRAs.
        external: metadata of the other tool.
        changes: settings that `--set` replaces.
    """
    fields = external.fields
    record: dict[str, Any] = {"task": "txt2img"}
    record |= {name: fields[name] for name in ("prompt", "negative_prompt") if name in fields}
    notes = list(external.notes)
    for name in SUPPORTED_FIELDS:
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
    unsupported = [name for name in fields if name not in SUPPORTED_FIELDS and name not in IGNORED_KEYS]
    unsupported += [name for name in external.other if name not in IGNORED_KEYS]
    if unsupported:
        listed, hidden = unsupported[:MAX_LISTED_FIELDS], len(unsupported) - MAX_LISTED_FIELDS
        notes.append(f"Ignored metadata: {', '.join(listed)}{f' and {hidden} more' if hidden > 0 else ''}.")
    if fields.get("model") and "model" not in changes:
        notes.append(
            f"The image was generated with the model {fields['model']!r} of another tool. To set the model, add "
            "--set model=NAME."
        )
    if "lora" not in changes:
        loras, lora_notes = _find_loras(path, external)
        notes += lora_notes
        if loras:
            record["lora"] = loras
    if "embedding" not in changes:
        embeddings, embedding_notes = _find_embeddings(path, external)
        notes += embedding_notes
        if embeddings:
            record["embedding"] = embeddings
    return record, notes


def _is_valid(record: Mapping[str, Any], name: str, value: Any) -> bool:
    try:
        from_record({**record, name: value})
    except UsageError:
        return False
    return True


def _find_embeddings(path: Path, external: ExternalRecord) -> tuple[list[str], list[str]]:
    """Return the embeddings that have the recorded hash, and a note for each of the others."""
    found, notes = [], []
    for each in external.embeddings:
        try:
            found.append(find_embedding(path, each.name, each.digest))
        except InputFileError:
            notes.append(
                f"The embedding {each.name!r} was not found, or has another hash. Its name is text. To use it, add "
                "--set embedding=PATH."
            )
    return found, notes


def _find_loras(path: Path, external: ExternalRecord) -> tuple[list[str], list[str]]:
    """Return the LoRAs that have the recorded hash, and a note for each of the others."""
    found, notes = [], []
    for lora in external.loras:
        text = str(lora)
        try:
            found.append(find_lora(path, text, lora.digest))
        except InputFileError:
            notes.append(f"The LoRA {text} was not found, or has another hash. To use it, add --set lora=PATH:SCALE.")
    return found, notes
