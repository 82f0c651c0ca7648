"""Select the settings in the metadata of an image that a preset can contain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen import metadata, registry
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.jobs import replay_other_tools
from artgen.jobs.replay_checks import PINNED_SETTINGS
from artgen.spec.preset_values import PRESET_SETTINGS, checked_values
from artgen.spec.settings import BestOfSettings, canonical_keys, options_of, settings_of, type_of
from artgen.spec.wildcards import has_wildcards

_RESOLVED_SETTINGS = frozenset({"dtype", "vae_tiling", "acceleration", "long_prompt"})
"""Settings whose recorded value artgen selected for the machine and the model."""

_LOOKUPS = ("<", "embedding:")
"""Text of prompts that can select a LoRA or an embedding."""


def recorded_settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of an image for a preset, and notes about settings that are not used.

    Metadata is untrusted. LoRAs and embeddings are not used, a model only if it is an alias or a hub id, and a negative
    prompt only if it does not select files.

    Raises:
        InputFileError: the file has no valid metadata, or none of its settings can be in a preset.
    """
    found = metadata.read_metadata(path)
    record: Mapping[str, Any] = found.record or {}
    if not record and found.external is not None:
        unused = dict.fromkeys(("lora", "embedding", "model"), "")
        record, _ = replay_other_tools.to_record(path, found.external, unused)
        record |= {name: found.external.fields[name] for name in ("model",) if name in found.external.fields}
    fields = {name: options_of(group)[name] for name, group in PRESET_SETTINGS.items()}
    values: dict[str, Any] = {}
    unused_names: list[str] = []
    for name, value in canonical_keys(record, fields).items():
        if name not in PRESET_SETTINGS or not _is_choice(record, name, value):
            continue
        try:
            values |= checked_values({name: _safe_value(record, name, value)})
        except ArtgenError:
            unused_names.append(name)
    try:
        checked_values(values)
    except UsageError as error:
        raise InputFileError(f"Cannot use the settings of '{path}': {error.message}", error.hint) from error
    if not values:
        raise InputFileError(
            f"Cannot use the settings of '{path}': its metadata contains no setting of a preset.",
            "`artgen info` shows the metadata.",
        )
    notes = [f"Not saved from the metadata: {', '.join(unused_names)}."] if unused_names else []
    return values, [*found.notes, *notes]


def _is_choice(record: Mapping[str, Any], name: str, value: Any) -> bool:
    """Return whether a recorded value is a choice of the user for the pixels, and not a default."""
    setting = settings_of(PRESET_SETTINGS[name])[name]
    default = options_of(PRESET_SETTINGS[name])[name].default
    if name in ("width", "height") and record.get("task") != "txt2img":  # the size of the input image
        return False
    if name in _RESOLVED_SETTINGS or name in options_of(BestOfSettings) or "pixels" not in setting.affects:
        return False
    return value not in (None, "", default) and value not in setting.neutral_values


def _safe_value(record: Mapping[str, Any], name: str, value: Any) -> Any:
    """Return a value without a path or the name of a file.

    Raises:
        ArtgenError: the value contains a path or selects a file.
    """
    is_list = type_of(PRESET_SETTINGS[name], name)[0] is tuple
    is_prompt = name == "negative_prompt" and isinstance(value, str)
    if is_list or (is_prompt and (has_wildcards(value) or any(text in value for text in _LOOKUPS))):
        raise UsageError(f"{name} selects files.")
    if name in PINNED_SETTINGS:
        source = str(record.get(f"{name}_source") or "")
        if source == "local" or registry.recorded_model_name(str(value), source, None) is None:
            raise UsageError(f"{name} is not an alias or a hub id.")
    return value
