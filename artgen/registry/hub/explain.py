"""Explain why a repository or a folder without `model_index.json` is not a pipeline, and how its files can be used."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError
from artgen.registry.hub import download
from artgen.registry.hub.client import RepoListing
from artgen.registry.hub.network_settings import endpoint
from artgen.registry.hub.select_files import MAX_CONFIG_BYTES, PICKLE_WEIGHT_SUFFIXES
from artgen.system.external_data import parse_json, read_limited

LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json")
CHECKPOINT_SUFFIXES = (".safetensors", ".gguf")
COMPONENT_FOLDERS = ("unet/", "transformer/", "vae/", "text_encoder/")
MAX_LISTED_FILES = 3


def not_a_pipeline_error(listing: RepoListing) -> ArtgenError:
    """Return the error for a repository without `model_index.json`. At most its `config.json` is downloaded."""
    files = {file.name: file for file in listing.files}

    def read_root_config() -> Path | None:
        file = files.get("config.json")
        return None if file is None or file.size > MAX_CONFIG_BYTES else download.download(listing, file)

    address = f"{endpoint()}/{listing.repo}/resolve/main"
    return _error(
        listing.repo,
        files,
        read_root_config,
        lora_hint=lambda file: f"artgen models pull {address}/{file}, and pass the file with --lora.",
        file_name=lambda file: f"{listing.repo}/{file}",
    )


def not_a_model_folder_error(folder: Path) -> ArtgenError:
    """Return the error for a folder on the disk without `model_index.json`."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()]
    config = folder / "config.json"
    return _error(
        str(folder),
        names,
        lambda: config if config.is_file() else None,
        lora_hint=lambda file: f"Pass it with --lora {folder / file}.",
        file_name=lambda file: str(folder / file),
    )


def _error(
    name: str,
    files: Iterable[str],
    read_root_config: Callable[[], Path | None],
    *,
    lora_hint: Callable[[str], str],
    file_name: Callable[[str], str],
) -> ArtgenError:
    """Return the error for the files of a repository or a folder.

    The kinds are tested in this order: a LoRA, folders of components, a modular pipeline, a component or another model
    of a library, single checkpoints, pickles.
    """
    names = sorted(files)
    checkpoints = [each for each in names if each.endswith(CHECKPOINT_SUFFIXES) and "non_ema" not in each]
    pickles = [each for each in names if each.endswith(PICKLE_WEIGHT_SUFFIXES)]
    loras = [each for each in names if _is_lora_name(each)]
    folders = [folder for folder in COMPONENT_FOLDERS if any(each.startswith(folder) for each in names)]
    if loras or (checkpoints and _is_lora_name(name) and not folders):
        file = next((each for each in checkpoints if each in loras), checkpoints[0] if checkpoints else loras[0])
        return ModelUnavailableError(f"'{name}' is a LoRA, not a complete model.", lora_hint(file))
    if folders:
        text = f"'{name}' has no model_index.json, but folders of components: {', '.join(folders)}."
        return ModelUnavailableError(text, "Use a complete copy of the model.")
    if "modular_model_index.json" in names:
        text = f"'{name}' is a modular pipeline, which artgen does not support: it has no model_index.json."
        return ModelUnavailableError(text, "Use a copy of the model with model_index.json.")
    if reason := _library_model(read_root_config()):
        return ModelUnavailableError(f"'{name}' is not a complete model: it is {reason}.", "Use another model.")
    if checkpoints:
        listed = ", ".join(f"-m {file_name(each)}" for each in checkpoints[:MAX_LISTED_FILES])
        text = f"'{name}' is not in diffusers' layout: it has no model_index.json, but single files."
        return ModelUnavailableError(text, f"Name one of its files: {listed}.")
    if pickles:
        text = f"Cannot use '{name}': it has only '{pickles[0]}', a Python pickle that can run code."
        return RefusedError(text, "Use a copy with .safetensors files, or run `artgen models convert` on the file.")
    return ModelUnavailableError(
        f"'{name}' is not a diffusers model: it has no model_index.json and no .safetensors file.",
        "Use another model (`artgen models list`).",
    )


def _is_lora_name(name: str) -> bool:
    return name in LORA_FILES or "lora" in name.rpartition("/")[2].lower()


def _library_model(path: Path | None) -> str:
    """Return what a folder with this `config.json` contains; empty if this is unknown."""
    config: Any = None
    if path is not None:
        with contextlib.suppress(ValueError, ArtgenError):
            config = parse_json(read_limited(path, MAX_CONFIG_BYTES))
    if not isinstance(config, dict):
        return ""
    if isinstance(class_name := config.get("_class_name"), str):
        use = "; use it with --vae" if class_name == "AutoencoderKL" else ""
        return f"only a component of a pipeline, {class_name[:60]!r}{use}"
    if isinstance(model_type := config.get("model_type"), str):
        return f"a model of transformers, {model_type[:60]!r}"
    return ""
