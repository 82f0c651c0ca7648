"""Find the adapter of `--image-prompt` and its image encoder: names of the table, or a local .safetensors file."""

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry import diffusers_folder, hashes, hub, model_folders
from artgen.registry.control_nets.fit import denoiser_config
from artgen.registry.hub import cache
from artgen.registry.image_prompts.adapter import (
    AdapterEntry,
    EncoderEntry,
    ImagePromptAdapter,
    adapter_entries,
    encoder_entries,
    find_entry,
)
from artgen.registry.image_prompts.layers import AdapterLayers, read_layers
from artgen.registry.model_configs import read_config
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle
from artgen.system.counts import format_bytes

ENCODER_FOLDER = "image_encoder"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class AdapterSearch:
    """Store what the search for an adapter depends on, besides its name.

    Attributes:
        model: the model that the adapter is for.
        offline: do not use the network.
        download: download missing files.
        listener: receives the events of downloads.
    """

    model: ResolvedModel
    offline: bool = False
    download: bool = True
    listener: Listener = no_op


def resolve_adapter(name: str | None, search: AdapterSearch) -> ImagePromptAdapter:
    """Find an adapter and its image encoder on the disk, or download them, and check that they fit the model.

    Args:
        name: short name, variant such as `plus`, path, or name in the user's model folders; None is the default adapter
            of the model.
        search: the model, and whether the network is used.

    Raises:
        UsageError: the model has no default adapter, or the adapter needs a face recognition model.
        InputFileError: a file is damaged, or is not an IP-Adapter.
        ModelUnavailableError: the adapter is unknown, does not fit the model, or is not on the disk without a network.
        RefusedError: the adapter is a pickle.
    """
    entry = _default_entry(search.model) if name is None else find_entry(name) or _variant(name, search.model)
    if entry is not None:
        _check_entry(entry, search.model)
        return _hub_adapter(entry, search)
    path = Path(os.path.expanduser(name or ""))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    path = path if os.path.lexists(path) else model_folders.find("image_prompt", str(name)) or path
    if path.suffix.lower() in PICKLE_SUFFIXES and os.path.isfile(path):  # noqa: PTH113 - does not raise
        reject_pickle(path)
    if not os.path.isfile(path):  # noqa: PTH113 - does not raise
        raise _unknown_error(str(name))
    return _local_adapter(str(name), path, search)


def _default_entry(model: ResolvedModel) -> AdapterEntry:
    width = _text_width(model)
    for entry in adapter_entries().values():
        if entry.default and (entry.architecture, entry.cross_attention_dim) == (model.architecture, width):
            return entry
    raise UsageError(
        f"The model '{model.short_name}' has no default adapter for image prompts.",
        "Use a model of Stable Diffusion 1.5, SDXL or Flux.1, or name an adapter: --image-prompt "
        "FILE,model=PATH.safetensors",
        settings=("image_prompt",),
    )


def _text_width(model: ResolvedModel) -> Any:
    """Return the width of the text embedding that the denoiser of a model reads; None if it is unknown."""
    config = denoiser_config(model)
    return config.get("cross_attention_dim") or config.get("joint_attention_dim")


def _variant(name: str, model: ResolvedModel) -> AdapterEntry | None:
    """Return the adapter of a variant such as `plus` or `plus-face` for a model; None if the table has none."""
    entries = adapter_entries()
    base = next(
        (each.name for each in entries.values() if each.default and each.architecture == model.architecture), ""
    )
    return entries.get(f"{base}-{name}")


def _check_entry(entry: AdapterEntry, model: ResolvedModel) -> None:
    width = _text_width(model)
    if entry.architecture != model.architecture or entry.cross_attention_dim != width:
        fitting = [each.name for each in adapter_entries().values() if each.architecture == model.architecture]
        raise _misfit(entry.name, model, f"it is for {entry.architecture}", f"Use model={' or model='.join(fitting)}.")


def _misfit(name: str, model: ResolvedModel, reason: str, hint: str = "") -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot use the image prompt adapter '{name}' with '{model.short_name}': {reason}.",
        hint or "Omit model= to use the default adapter of the model.",
        settings=("image_prompt",),
    )


def _hub_adapter(entry: AdapterEntry, search: AdapterSearch) -> ImagePromptAdapter:
    encoder = encoder_entries()[entry.encoder]
    files = (entry.file, *_encoder_files(encoder))
    snapshot = cache.snapshot_folder(entry.source)
    if snapshot is None or not all((snapshot / file).is_file() for file in files):
        size = _missing_bytes(entry, encoder, snapshot)
        if search.offline or cache.is_offline():
            raise ModelUnavailableError(
                f"The image prompt adapter '{entry.name}' is not on this computer, and the network is disabled "
                "(--offline or HF_HUB_OFFLINE).",
                "Run the command once with a network.",
            )
        if not search.download:
            return ImagePromptAdapter(
                entry.name, Path(entry.file), source=entry.source, license=entry.license, download_bytes=size
            )
        search.listener(Notice(f"Downloading the image prompt adapter '{entry.name}' ({format_bytes(size)})."))
        on_progress = lambda file, done, total: search.listener(Downloading(file, done, total))  # noqa: E731
        snapshot = hub.pull_files(entry.source, files, on_progress=on_progress)
    found = ImagePromptAdapter(entry.name, snapshot / entry.file, source=entry.source, license=entry.license)
    return replace(_checked(found, snapshot / encoder.folder, search.model), revision=snapshot.name)


def _encoder_files(encoder: EncoderEntry) -> tuple[str, ...]:
    files = (f"{encoder.folder}/config.json", f"{encoder.folder}/{_WEIGHTS}")
    return (*files, encoder.processor) if encoder.processor else files


def _missing_bytes(entry: AdapterEntry, encoder: EncoderEntry, snapshot: Path | None) -> int:
    sizes = {entry.file: entry.download_size, f"{encoder.folder}/{_WEIGHTS}": encoder.download_size}
    return sum(size for file, size in sizes.items() if snapshot is None or not (snapshot / file).is_file())


def _local_adapter(name: str, path: Path, search: AdapterSearch) -> ImagePromptAdapter:
    """Return a local adapter with the image encoder next to it, else with the image encoder of the table."""
    layers = read_layers(path)
    _check_layers(name, layers, search.model)
    folders = (path.parent / ENCODER_FOLDER, path.parent.parent / ENCODER_FOLDER)
    folder = next((each for each in folders if (each / "config.json").is_file()), None)
    if folder is not None:
        return _checked(ImagePromptAdapter(name, path), folder, search.model)
    for encoder in encoder_entries().values():
        if layers.image_width == (encoder.hidden_size if layers.reads_hidden_states else encoder.projection_dim):
            return _with_hub_encoder(ImagePromptAdapter(name, path), encoder, search)
    raise ModelUnavailableError(
        f"The image prompt adapter '{name}' reads image embeddings of width {layers.image_width}, and no known image "
        "encoder has it.",
        f"Copy its image encoder to the folder '{path.parent / ENCODER_FOLDER}'.",
    )


def _with_hub_encoder(adapter: ImagePromptAdapter, encoder: EncoderEntry, search: AdapterSearch) -> ImagePromptAdapter:
    files = _encoder_files(encoder)
    snapshot = cache.snapshot_folder(encoder.source)
    if snapshot is None or not all((snapshot / file).is_file() for file in files):
        if search.offline or cache.is_offline():
            raise ModelUnavailableError(
                f"The image encoder of the adapter '{adapter.name}' is not on this computer, and the network is "
                "disabled (--offline or HF_HUB_OFFLINE).",
                f"Copy it to the folder '{adapter.path.parent / ENCODER_FOLDER}', or run the command with a network.",
            )
        if not search.download:
            return replace(adapter, license=encoder.license, download_bytes=encoder.download_size)
        search.listener(Notice(f"Downloading the image encoder ({format_bytes(encoder.download_size)})."))
        on_progress = lambda file, done, total: search.listener(Downloading(file, done, total))  # noqa: E731
        snapshot = hub.pull_files(encoder.source, files, on_progress=on_progress)
    return _checked(adapter, snapshot / encoder.folder, search.model)


def _checked(adapter: ImagePromptAdapter, encoder: Path, model: ResolvedModel) -> ImagePromptAdapter:
    """Return an adapter with its image encoder and hashes, after checking that they fit the model and each other."""
    layers = read_layers(adapter.path)
    _check_layers(adapter.name, layers, model)
    config = read_config(encoder / "config.json")
    config = config.get("vision_config", config)
    key = "hidden_size" if layers.reads_hidden_states else "projection_dim"
    if config.get(key) != layers.image_width:
        raise _misfit(
            adapter.name,
            model,
            f"it reads image embeddings of width {layers.image_width}, and the {key} of its image encoder "
            f"'{encoder.name}' is {config.get(key)}",
        )
    weights = next((found for found in diffusers_folder.find_weights(encoder) if found.is_complete), None)
    if weights is None:
        raise ModelUnavailableError(
            f"The image encoder in '{encoder}' has no complete .safetensors weights.", "Use another copy."
        )
    return replace(
        adapter,
        sha256=hashes.file_hash(adapter.path),
        encoder=encoder,
        encoder_files=weights.files,
        encoder_sha256=hashes.model_hash(weights.files),
    )


def _check_layers(name: str, layers: AdapterLayers, model: ResolvedModel) -> None:
    config, width = denoiser_config(model), _text_width(model)
    if layers.is_redux != (model.architecture == "flux"):
        raise _misfit(name, model, "it is Flux Redux" if layers.is_redux else "it is an IP-Adapter")
    if layers.text_width != width:
        raise _misfit(name, model, f"it is for text embeddings of width {layers.text_width}, and the model has {width}")
    if unknown := set(layers.outputs) - set(config.get("block_out_channels") or ()):
        raise _misfit(name, model, f"it has attention layers of width {min(unknown)}, and the model does not")


def _unknown_error(name: str) -> ModelUnavailableError:
    similar = difflib.get_close_matches(name, adapter_entries(), n=3)
    return ModelUnavailableError(
        f"Cannot find the image prompt adapter '{name[:80]}'.",
        f"Did you mean {' or '.join(similar)}?"
        if similar
        else f"Give a .safetensors file, or one of {', '.join(adapter_entries())}.",
        settings=("image_prompt",),
    )
