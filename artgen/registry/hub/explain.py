"""Explain why a hub repository without `model_index.json` is not a pipeline, and how its files can be used."""

import contextlib
from collections.abc import Mapping
from typing import Any

from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError
from artgen.registry.hub import download
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.network_settings import endpoint
from artgen.registry.hub.select_files import MAX_CONFIG_BYTES, PICKLE_WEIGHT_SUFFIXES
from artgen.system.external_data import parse_json, read_limited

LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json")
CHECKPOINT_SUFFIXES = (".safetensors", ".gguf")
COMPONENT_FOLDERS = ("unet/", "transformer/", "vae/", "text_encoder/")
MAX_LISTED_FILES = 3


def not_a_pipeline_error(listing: RepoListing) -> ArtgenError:
    """Return the error to raise for a repository without `model_index.json`. At most its `config.json` is downloaded.

    The kinds of repositories are tested in this order: a LoRA, folders of components, a modular pipeline, a component
    or another model of a library, single checkpoints, pickles.
    """
    files = {file.name: file for file in listing.files}
    checkpoints = sorted(name for name in files if name.endswith(CHECKPOINT_SUFFIXES) and "non_ema" not in name)
    pickles = sorted(name for name in files if name.endswith(PICKLE_WEIGHT_SUFFIXES))
    lora = next((name for name in (*LORA_FILES, *checkpoints) if name in files and _is_lora_name(name)), None)
    repo = f"'{listing.repo}'"
    if lora is not None or _is_lora_name(listing.repo):
        file = next((name for name in checkpoints if name == lora), checkpoints[0] if checkpoints else "FILE")
        hint = f"artgen models pull {endpoint()}/{listing.repo}/resolve/main/{file}, and pass the file with --lora."
        return ModelUnavailableError(f"{repo} is a LoRA, not a complete model.", hint)
    folders = [name for name in COMPONENT_FOLDERS if any(each.startswith(name) for each in files)]
    if folders:
        text = f"{repo} has no model_index.json, but folders of components: {', '.join(folders)}."
        return ModelUnavailableError(text, "Use a complete copy of the model.")
    if "modular_model_index.json" in files:
        text = f"{repo} is a modular pipeline, which artgen does not support: it has no model_index.json."
        return ModelUnavailableError(text, "Use a copy of the model with model_index.json.")
    if reason := _library_model(listing, files):
        return ModelUnavailableError(f"{repo} is not a complete model: it is {reason}.", "Use another repository.")
    if checkpoints:
        listed = ", ".join(f"-m {listing.repo}/{name}" for name in checkpoints[:MAX_LISTED_FILES])
        text = f"{repo} is not in diffusers' layout: it has no model_index.json, but single files."
        return ModelUnavailableError(text, f"Name one of its files: {listed}.")
    if pickles:
        text = f"Cannot use {repo}: it has only '{pickles[0]}', a Python pickle that can run code."
        return RefusedError(text, "Use a copy with .safetensors, or download the file and run `artgen models convert`.")
    return ModelUnavailableError(
        f"{repo} is not a diffusers model: it has no model_index.json and no .safetensors file.",
        "Use another repository.",
    )


def _is_lora_name(name: str) -> bool:
    return name in LORA_FILES or "lora" in name.rpartition("/")[2].lower()


def _library_model(listing: RepoListing, files: Mapping[str, RemoteFile]) -> str:
    """Return what a repository with a `config.json` in its root contains; empty if this is unknown."""
    file = files.get("config.json")
    if file is None or file.size > MAX_CONFIG_BYTES:
        return ""
    config: Any = None
    path = download.download(listing, file)
    with contextlib.suppress(ValueError):
        config = parse_json(read_limited(path, MAX_CONFIG_BYTES))
    if not isinstance(config, dict):
        return ""
    if isinstance(class_name := config.get("_class_name"), str):
        use = "; use it with --vae" if class_name == "AutoencoderKL" else ""
        return f"only a component of a pipeline, {class_name[:60]!r}{use}"
    if isinstance(model_type := config.get("model_type"), str):
        return f"a model of transformers, {model_type[:60]!r}"
    return ""
