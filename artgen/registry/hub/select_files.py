"""Which files of a hub model are needed: configurations, tokenizers, and one set of safetensors weights a component."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError
from artgen.registry.hub.client import RemoteFile

CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
PICKLE_WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".msgpack")
WEIGHTS_STEM = r"(?:diffusion_pytorch_model|model)"
SHARD_PATTERN = r"-(\d{5})-of-(\d{5})"
WEIGHT_VARIANTS = {
    "fp16": re.compile(rf"{WEIGHTS_STEM}(?:\.fp16(?:{SHARD_PATTERN})?|{SHARD_PATTERN}\.fp16)\.safetensors"),
    None: re.compile(rf"{WEIGHTS_STEM}(?:{SHARD_PATTERN})?\.safetensors"),
}
INDEX_PATTERN = re.compile(rf"{WEIGHTS_STEM}\.safetensors\.index(?:\.(\w+))?\.json")
NO_WEIGHTS_CLASSES = ("Scheduler", "Tokenizer", "TokenizerFast", "FeatureExtractor", "ImageProcessor", "Processor")
"""Endings of the class names of components that have a configuration and no weights."""


@dataclass(frozen=True)
class FileSelection:
    """The files to have, and what to tell the user about the choice."""

    files: tuple[RemoteFile, ...]
    notes: tuple[str, ...]


def select_files(repo: str, files: Iterable[RemoteFile], index: Mapping[str, Any]) -> FileSelection:
    """Choose a model's files, given its `model_index.json`.

    For each component the fp16 safetensors where they are complete, else the plain ones; never pickles, other
    frameworks' weights, training leftovers (`non_ema`) or code.

    Raises:
        RefusedError: a component whose only weights are pickles.
        ModelUnavailableError: a component without weights.
    """
    everything = tuple(files)
    chosen = [file for file in everything if file.name in ("model_index.json", "artgen.json")]
    plain: list[str] = []
    half: list[str] = []
    for component, value in index.items():
        if component.startswith("_") or not isinstance(value, list) or len(value) != 2 or value[0] is None:
            continue
        inside = _files_of_component(everything, component)
        chosen += [
            file
            for name, file in inside.items()
            if name.endswith(CONFIG_SUFFIXES) and not INDEX_PATTERN.fullmatch(name)
        ]
        if str(value[1]).endswith(NO_WEIGHTS_CLASSES):
            continue
        variant, weights = _select_weights(repo, component, inside)
        chosen += weights
        (half if variant else plain).append(component)
    notes: tuple[str, ...] = ()
    if plain and half:
        notes = (f"{repo} has no fp16 safetensors of {', '.join(plain)}; the full ones are taken.",)
    elif plain:
        notes = (f"{repo} has no fp16 safetensors; the full ones are taken.",)
    return FileSelection(tuple(dict.fromkeys(chosen)), notes)


def _files_of_component(files: Iterable[RemoteFile], component: str) -> dict[str, RemoteFile]:
    """A component's files by name: of its folder, or of the model's own in the oldest layout (google/ddpm-*)."""
    found: dict[str, dict[str, RemoteFile]] = {component: {}, "": {}}
    for file in files:
        folder, _, name = file.name.rpartition("/")
        if folder in found:
            found[folder][name] = file
    old = not found[component] and component in ("unet", "scheduler")
    return found["" if old else component]


def _select_weights(
    repo: str, component: str, component_files: Mapping[str, RemoteFile]
) -> tuple[str | None, list[RemoteFile]]:
    for variant, pattern in WEIGHT_VARIANTS.items():
        found = {name: match for name in component_files if (match := pattern.fullmatch(name))}
        whole = [name for name, match in found.items() if not any(match.groups())]
        if whole:
            return variant, [component_files[whole[0]]]
        counts = {next(g for g in reversed(match.groups()) if g) for match in found.values()}
        if len(counts) == 1 and len(found) == int(counts.pop()):
            indices = [
                file
                for name, file in component_files.items()
                if (m := INDEX_PATTERN.fullmatch(name)) and m[1] == variant
            ]
            return variant, [*indices, *(component_files[name] for name in sorted(found))]
    if any(name.endswith(PICKLE_WEIGHT_SUFFIXES) for name in component_files):
        raise RefusedError(
            f"The {component} of {repo} comes only as Python pickles, which can run code when they are read.",
            "Look for a copy of the model with .safetensors weights.",
        )
    raise ModelUnavailableError(f"{repo} has no weights for its {component}.", "Look for a complete copy of the model.")
