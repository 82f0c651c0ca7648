"""Select the files of a hub model: configurations, tokenizers, and one set of safetensors weights per component."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError, UsageError
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
"""Suffixes of the class names of components that have a configuration but no weights."""


@dataclass(frozen=True)
class FileSelection:
    """Store the selected files, and notes for the user about the selection."""

    files: tuple[RemoteFile, ...]
    notes: tuple[str, ...]


def select_files(repo: str, files: Iterable[RemoteFile], index: Mapping[str, Any]) -> FileSelection:
    """Select the files of a model, given its `model_index.json`.

    For each component, select the fp16 safetensors if they are complete, else the safetensors of the default variant.
    Pickles, weights of other frameworks, training leftovers (`non_ema`) and code are never selected.

    Raises:
        RefusedError: a component has only pickled weights.
        ModelUnavailableError: a component has no weights.
    """
    all_files = tuple(files)
    selected = [file for file in all_files if file.name in ("model_index.json", "artgen.json")]
    default_variant: list[str] = []
    fp16: list[str] = []
    for component, value in index.items():
        if component.startswith("_") or not isinstance(value, list) or len(value) != 2 or value[0] is None:
            continue
        component_files = _files_of_component(all_files, component)
        selected += [
            file
            for name, file in component_files.items()
            if name.endswith(CONFIG_SUFFIXES) and not INDEX_PATTERN.fullmatch(name)
        ]
        if str(value[1]).endswith(NO_WEIGHTS_CLASSES):
            continue
        variant, weights = select_component_weights(repo, component, component_files)
        selected += weights
        (fp16 if variant else default_variant).append(component)
    notes: tuple[str, ...] = ()
    if default_variant:
        which = f" of {', '.join(default_variant)}" if fp16 else ""
        notes = (f"'{repo}' has no fp16 safetensors{which}; the default variant is downloaded.",)
    return FileSelection(tuple(dict.fromkeys(selected)), notes)


def is_weights(name: str) -> bool:
    """Return whether a file contains weights or is an index of weights."""
    return name.endswith(".safetensors") or bool(INDEX_PATTERN.fullmatch(name.rpartition("/")[2]))


def omit_components(index: Mapping[str, Any], omitted: Collection[str]) -> dict[str, Any]:
    """Return the content of a `model_index.json` with `[null, null]` for the omitted components.

    Raises:
        UsageError: the pipeline has no such component.
    """
    if missing := [name for name in omitted if name not in index]:
        raise UsageError(
            f"--{missing[0].replace('_', '-')} works with Stable Diffusion 3; a {index.get('_class_name')} has no "
            f"{missing[0]}.",
            f"Remove --{missing[0].replace('_', '-')}.",
            settings=(missing[0],),
        )
    return {**index, **{name: [None, None] for name in omitted}}


def _files_of_component(files: Iterable[RemoteFile], component: str) -> dict[str, RemoteFile]:
    """Return a component's files by name, from its folder or, in the oldest layout (google/ddpm-*), from the root."""
    found: dict[str, dict[str, RemoteFile]] = {component: {}, "": {}}
    for file in files:
        folder, _, name = file.name.rpartition("/")
        if folder in found:
            found[folder][name] = file
    is_old_layout = not found[component] and component in ("unet", "scheduler")
    return found["" if is_old_layout else component]


def select_component_weights(
    repo: str, component: str, component_files: Mapping[str, RemoteFile]
) -> tuple[str | None, list[RemoteFile]]:
    """Return the variant, and its index and weights."""
    for variant, pattern in WEIGHT_VARIANTS.items():
        matches = {name: match for name in component_files if (match := pattern.fullmatch(name))}
        unsharded = [name for name, match in matches.items() if not any(match.groups())]
        if unsharded:
            return variant, [component_files[unsharded[0]]]
        shard_counts = {next(group for group in reversed(match.groups()) if group) for match in matches.values()}
        if len(shard_counts) == 1 and len(matches) == int(shard_counts.pop()):
            indices = [
                file
                for name, file in component_files.items()
                if (match := INDEX_PATTERN.fullmatch(name)) and match[1] == variant
            ]
            return variant, [*indices, *(component_files[name] for name in sorted(matches))]
    if any(name.endswith(PICKLE_WEIGHT_SUFFIXES) for name in component_files):
        raise RefusedError(
            f"Cannot download '{repo}': the weights of its {component} are only Python pickles, which can run code.",
            "Use a copy of the model with .safetensors weights.",
        )
    raise ModelUnavailableError(f"'{repo}' has no weights of its {component}.", "Use a complete copy of the model.")
