"""Keep the settings of a record consistent that depend on a changed setting."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from artgen.spec.restoration_requests import Upscale

_NEEDED = {
    "hires_in": "hires",
    "hires_model": "hires",
    "hires_steps": "hires",
    "source_prompt": "invert",
    "variation_seed": "variation_strength",
}
"""Settings that have no effect without another setting."""

_REPLACED = {"by": "target_size", "target_size": "by"}
"""Settings of which a request has one."""


def drop_replaced(record: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Remove the recorded settings that contradict the changes, in place.

    Args:
        record: record with the changes.
        changes: changed settings.
    """
    dropped = {name for name, other in _NEEDED.items() if other in changes and not record[other]}
    if record.get("task") == Upscale.task:
        dropped |= {_REPLACED[name] for name in changes if name in _REPLACED and record[name] is not None}
        if "method" in changes:
            dropped |= _unused_by_method(record)
    for name in dropped - changes.keys():
        record.pop(name, None)


def needed_settings(record: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the recorded settings without which the settings in `names` cannot be validated."""
    needed = {_NEEDED[name] for name in names if name in _NEEDED}
    if record.get("task") == Upscale.task:
        needed.add("method")
    return {name: record[name] for name in needed if record.get(name) is not None}


def _unused_by_method(record: Mapping[str, Any]) -> set[str]:
    """Return the settings and the facts of a record that the changed method of upscaling does not use."""
    unused = set(Upscale(image=Path("-"), method=record["method"]).unused_settings)
    if "model" in unused:
        unused |= {name for name in record if name.startswith("model_")} | {"steps", "seed"}
    return unused
