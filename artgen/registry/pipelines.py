"""Describe the image pipelines of diffusers: tasks, sizes, guidance and supported features (`assets/pipelines.json`).

Each entry of the table is one family or variant, such as Flux.1 dev. `find_entry` selects the entry of a model from its
`model_index.json` and its denoiser configuration; `require_entry` refuses every other pipeline with a reason, before a
download. This module imports neither torch nor diffusers.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.pipeline_entry import EMPTY, PipelineEntry, TextEncoder

MAX_FAMILIES_IN_HINT = 12
CLASSES_BY_TASK = ("pag", "control", "control_union", "control_inpaint", "control_pag", "adapter")
"""Keys of the table that contain further pipeline classes by task, for the tasks that an entry has."""


@cache
def pipeline_entries() -> Mapping[str, PipelineEntry]:
    """Return all entries of the table by name; entries with conditions precede those without."""
    table = _table()["entries"]
    found = [_entry(name, table) for name in table]
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda each: not each.when)})


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((ASSETS_FOLDER / "pipelines.json").read_text(encoding="utf-8"))
    return table


def _entry(name: str, table: Mapping[str, Any]) -> PipelineEntry:
    values = _inherited(name, table)
    for key in ("classes", "packages", "schedulers"):
        values[key] = tuple(values.get(key, ()))
    for key in CLASSES_BY_TASK:
        values[key] = {task: name for task, name in values.get(key, {}).items() if task in values["tasks"]}
    for key in ("no_strength", "guidance_rescale", "no_guide", "control_guess", "control_rescale", "image_prompt"):
        values[key] = tuple(task for task in values.get(key, ()) if task in values["tasks"])
    values["features"] = frozenset(values.get("features", ()))
    values["encoders"] = tuple(TextEncoder(key, *value) for key, value in values.get("encoders", {}).items())
    unknown = values.keys() - {each.name for each in fields(PipelineEntry)}
    if unknown:
        raise ValueError(f"pipelines.json: the entry {name} has unknown keys: {', '.join(sorted(unknown))}.")
    return PipelineEntry(name=name, **values)


def _inherited(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an entry; `extends` names the entry of which all other values are taken."""
    values = dict(table[name])
    parent = values.pop("extends", None)
    if parent is None:
        return values
    inherited = {key: value for key, value in _inherited(parent, table).items() if key not in ("classes", "when")}
    return inherited | values


def find_entry(
    class_name: str, index: Mapping[str, Any] = EMPTY, denoiser_config: Mapping[str, Any] = EMPTY
) -> PipelineEntry | None:
    """Return the entry of a pipeline class, or None if artgen does not support the pipeline.

    Args:
        class_name: `_class_name` of the model's `model_index.json`.
        index: content of `model_index.json`, as far as it is known.
        denoiser_config: content of the denoiser's `config.json`, as far as it is known. Without it, the entry of the
            family's base model is returned.
    """
    values = {f"index.{key}": value for key, value in index.items()}
    values |= {f"denoiser.{key}": value for key, value in denoiser_config.items()}
    for entry in pipeline_entries().values():
        fits = all(values.get(key) == value or (value == "*" and values.get(key)) for key, value in entry.when.items())
        if class_name in entry.selecting_classes() and fits:
            return entry
    return None


@cache
def architecture_entry(architecture: str) -> PipelineEntry | None:
    """Return the entry of an architecture's base model: the first of the table; None if no entry has it."""
    entries = (pipeline_entries()[name] for name in _table()["entries"])
    return next((entry for entry in entries if entry.architecture == architecture), None)


def base_entry(architecture: str) -> PipelineEntry:
    """Return the entry of the base model of an architecture that is in the table."""
    if entry := architecture_entry(architecture):
        return entry
    raise KeyError(architecture)


def architectures_with(feature: str) -> tuple[str, ...]:
    """Return the architectures whose base model supports a feature, in the order of the table."""
    names = dict.fromkeys(pipeline_entries()[name].architecture for name in _table()["entries"])
    return tuple(name for name in names if base_entry(name).supports(feature))


def require_entry(
    model_name: str,
    class_name: str,
    index: Mapping[str, Any] = EMPTY,
    denoiser_config: Mapping[str, Any] = EMPTY,
) -> PipelineEntry:
    """Return the entry of a pipeline class.

    Raises:
        ModelUnavailableError: artgen does not support the pipeline; the message contains the reason, and the hint names
            supported families.
    """
    if entry := find_entry(class_name, index, denoiser_config):
        return entry
    raise ModelUnavailableError(
        f"Cannot use '{model_name}': its pipeline {class_name[:100]!r} {refusal_reason(class_name)}.",
        f"Supported families: {', '.join(supported_families()[:MAX_FAMILIES_IN_HINT])} and others; see `artgen models "
        "list`.",
    )


def families_with(task: str) -> tuple[str, ...]:
    """Return the titles of the families whose pipelines support a task, in the order of the table."""
    entries = (pipeline_entries()[name] for name in _table()["entries"])
    return tuple(dict.fromkeys(each.title for each in entries if task in each.tasks and not each.when))


def refusal_reason(class_name: str) -> str:
    """Return why artgen does not support a pipeline class, as a predicate: 'generates videos'."""
    for reason, patterns in _table()["refused"].items():
        if any(fnmatchcase(class_name, pattern) for pattern in patterns):
            return str(reason)
    return "is not in artgen's table of image pipelines"


@cache
def supported_families() -> tuple[str, ...]:
    """Return the title of one entry of each architecture that generates from a prompt, in the order of the table."""
    families: dict[str, str] = {}
    for name in _table()["entries"]:
        entry = pipeline_entries()[name]
        if "txt2img" in entry.tasks:
            families.setdefault(entry.architecture, entry.title)
    return tuple(families.values())
