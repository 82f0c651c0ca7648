"""Select the files of a hub model: configurations, tokenizers, and one set of safetensors weights per component."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.registry.hub.client import RemoteFile

CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
PICKLE_WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".msgpack")
WEIGHTS_STEM = r"(?:diffusion_pytorch_model|model)"
SHARD_PATTERN = r"-(\d{5})-of-(\d{5})"
LOADABLE_VARIANTS = ("fp16", "bf16")
"""Variants that artgen loads, besides the default variant."""


def _weights_pattern(variant: str) -> re.Pattern[str]:
    """Return the pattern of the file names of a variant, with the new and the former position of its name."""
    return re.compile(rf"{WEIGHTS_STEM}(?:\.{variant}(?:{SHARD_PATTERN})?|{SHARD_PATTERN}\.{variant})\.safetensors")


WEIGHT_VARIANTS: Mapping[str | None, re.Pattern[str]] = {
    "fp16": _weights_pattern("fp16"),
    None: re.compile(rf"{WEIGHTS_STEM}(?:{SHARD_PATTERN})?\.safetensors"),
    "bf16": _weights_pattern("bf16"),
}
"""Patterns of the file names of each variant, the preferred variant first."""
OTHER_VARIANT_PATTERN = re.compile(rf"{WEIGHTS_STEM}\.(?!safetensors)(\w+)(?:{SHARD_PATTERN})?\.safetensors")
INDEX_PATTERN = re.compile(rf"{WEIGHTS_STEM}\.safetensors\.index(?:\.(\w+))?\.json")
VOCABULARY_FILES = frozenset({"tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model"})
MAX_CONFIG_BYTES = 4 << 20
TOKENIZER_CLASSES = ("Tokenizer", "TokenizerFast", "TokenizersBackend", "SentencePieceBackend")
NO_WEIGHTS_CLASSES = (
    "Scheduler", "FeatureExtractor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "Processor",
    "Guidance",
    *TOKENIZER_CLASSES,
)  # fmt: skip
"""Suffixes of the class names of components that have a configuration but no weights. transformers 5 without
torchvision writes ImageProcessorPil."""


@dataclass(frozen=True)
class FileSelection:
    """Store the selected files.

    Attributes:
        files: all selected files.
        notes: sentences for the user about the selection.
        variant: variant of the components that have no default variant; None if all have it.
        weights: selected weights of each component.
    """

    files: tuple[RemoteFile, ...]
    notes: tuple[str, ...]
    variant: str | None = None
    weights: Mapping[str, tuple[RemoteFile, ...]] = field(default_factory=dict)


def is_configuration(file: RemoteFile) -> bool:
    """Return whether a file is a small JSON file that describes a model: no weights, no index of shards."""
    name = file.name.rpartition("/")[2]
    is_index = bool(INDEX_PATTERN.fullmatch(name))
    return name.endswith(".json") and name not in VOCABULARY_FILES and not is_index and file.size <= MAX_CONFIG_BYTES


def select_files(repo: str, files: Iterable[RemoteFile], index: Mapping[str, Any]) -> FileSelection:
    """Select the files of a model, given its `model_index.json`.

    For each component, select the complete safetensors files of the first of these variants: fp16, default, bf16.
    Pickles, weights of other frameworks, training leftovers (`non_ema`) and code are never selected.

    Raises:
        RefusedError: a component has only pickled weights.
        ModelUnavailableError: a component has no weights.
    """
    all_files = tuple(files)
    selected = [file for file in all_files if file.name in ("model_index.json", "artgen.json")]
    variants: dict[str, str | None] = {}
    weights: dict[str, tuple[RemoteFile, ...]] = {}
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
        variants[component], weights[component] = select_component_weights(repo, component, component_files)
        selected += weights[component]
    variant = next((each for each in variants.values() if each), None)
    return FileSelection(tuple(dict.fromkeys(selected)), _variant_notes(repo, variants), variant, weights)


def _variant_notes(repo: str, variants: Mapping[str, str | None]) -> tuple[str, ...]:
    notes = []
    for variant, text in ((None, "no fp16"), ("bf16", "only bf16")):
        components = [component for component, each in variants.items() if each == variant]
        which = f" of {', '.join(components)}" if len(components) < len(variants) else ""
        if components:
            name = "default" if variant is None else variant
            notes.append(f"'{repo}' has {text} safetensors{which}; the {name} variant is downloaded.")
    return tuple(notes)


def is_weights(name: str) -> bool:
    """Return whether a file contains weights or is an index of weights."""
    return name.endswith(".safetensors") or bool(INDEX_PATTERN.fullmatch(name.rpartition("/")[2]))


def omit_components(index: Mapping[str, Any], omitted: Collection[str]) -> dict[str, Any]:
    """Return the content of a `model_index.json` with `[null, null]` for the omitted components.

    Raises:
        UsageError: the pipeline has no such component, or does not work without it.
    """
    is_sd3 = str(index.get("_class_name")).startswith("StableDiffusion3")  # HiDream needs its third text encoder
    if unsupported := [name for name in omitted if not is_sd3 or name not in index]:
        option = f"--{unsupported[0].replace('_', '-')}"
        raise UsageError(
            f"{option} works with Stable Diffusion 3; a {index.get('_class_name')} "
            f"{'needs it' if unsupported[0] in index else f'has no {unsupported[0]}'}.",
            f"Remove {option}.",
            settings=(unsupported[0],),
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
) -> tuple[str | None, tuple[RemoteFile, ...]]:
    """Return the variant, and its index and weights."""
    for variant, pattern in WEIGHT_VARIANTS.items():
        matches = {name: match for name in component_files if (match := pattern.fullmatch(name))}
        unsharded = [name for name, match in matches.items() if not any(match.groups())]
        if unsharded:
            return variant, (component_files[unsharded[0]],)
        shard_counts = {next(group for group in reversed(match.groups()) if group) for match in matches.values()}
        if len(shard_counts) == 1 and len(matches) == int(shard_counts.pop()):
            indices = [
                file
                for name, file in component_files.items()
                if (match := INDEX_PATTERN.fullmatch(name)) and match[1] == variant
            ]
            return variant, (*indices, *(component_files[name] for name in sorted(matches)))
    if any(name.endswith(PICKLE_WEIGHT_SUFFIXES) for name in component_files):
        raise RefusedError(
            f"Cannot download '{repo}': the weights of its {component} are only Python pickles, which can run code.",
            f"Use a copy of the model with .safetensors weights. Or run `hf download {repo} --local-dir FOLDER` and "
            "`artgen models convert FOLDER`, and use FOLDER as the model.",
        )
    raise missing_weights_error(repo, component, component_files)


def missing_weights_error(model_name: str, component: str, file_names: Iterable[str]) -> ModelUnavailableError:
    """Return the error to raise for a component without weights that artgen can load.

    Args:
        model_name: hub id or name of the folder.
        component: name of the component.
        file_names: names of the files of the component.
    """
    names = sorted(file_names)
    shards = [match for name in names if (match := re.fullmatch(rf"{WEIGHTS_STEM}{SHARD_PATTERN}\.safetensors", name))]
    others = sorted({match[1] for name in names if (match := OTHER_VARIANT_PATTERN.fullmatch(name))})
    if shards:
        found = f"{len(shards)} of {int(shards[0][2])} shards"
    elif others:
        found = f"only weights of the variant {' and '.join(others)}; artgen loads the default variant, fp16 and bf16"
    else:
        found = "no weights"
    return ModelUnavailableError(
        f"Cannot use '{model_name}': its {component} has {found}.", "Use a complete copy of the model."
    )
