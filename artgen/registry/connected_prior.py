"""Combine a decoder of Kandinsky 2.2 with its prior, which is a model of its own on the hub.

The repositories of Kandinsky 2.2 contain only a decoder, whose input is an image embedding. The prior computes the
embedding from the prompt. diffusers combines both (`AutoPipelineForText2Image`). `combined_folder` links the components
of both models into one folder in diffusers' layout, which loads like other models.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import diffusers_folder, hub, pipelines
from artgen.registry.hub import cache
from artgen.system.cache_folders import use_cache_folder
from artgen.system.files import atomic_folder, wrap_write_errors

PRIOR_PREFIX = "prior_"
"""Prefix of the prior's components in the combined pipelines of diffusers."""


def prior_of(folder: Path) -> str | None:
    """Return the hub id of the prior that a model folder needs; None if the folder is complete without a prior."""
    class_name = str(diffusers_folder.read_model_index(folder).get("_class_name"))
    entry = pipelines.find_entry(class_name)
    return entry.prior if entry and class_name in entry.combined else None


def cached_prior(repo: str) -> Path | None:
    """Return the complete snapshot of a prior in the cache of the hub; None if it is not there."""
    folder = cache.snapshot_folder(repo)
    is_complete = folder and (folder / "model_index.json").is_file() and not diffusers_folder.missing_files(folder)
    return folder if is_complete else None


def pending_prior(repo: str, *, offline: bool) -> hub.PendingDownload:
    """Download the configurations of a prior.

    Raises:
        ModelUnavailableError: the network is disabled.
        ArtgenError: see `hub.fetch_configs`.
    """
    if offline or cache.is_offline():
        raise ModelUnavailableError(
            f"The prior '{repo}' of the model is not on this computer, and the network is disabled (--offline or "
            "HF_HUB_OFFLINE).",
            "Run the command once with a network.",
        )
    return hub.fetch_configs(repo)


def combined_folder(decoder: Path, prior: Path) -> Path:
    """Return a folder in artgen's cache with links to the components of a decoder and of its prior.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    index = diffusers_folder.read_model_index(decoder)
    class_name = str(index["_class_name"])
    entry = pipelines.find_entry(class_name)
    components = {name: (decoder / name, value) for name, value in index.items() if isinstance(value, list)}
    folders = {name for name, _, _ in diffusers_folder.iter_components(index)}  # safe names
    prior_index = diffusers_folder.read_model_index(prior)
    for name, value in prior_index.items():
        if isinstance(value, list):
            components[PRIOR_PREFIX + name] = prior / name, value
    folders |= {PRIOR_PREFIX + name for name, _, _ in diffusers_folder.iter_components(prior_index)}
    combined: dict[str, Any] = {"_class_name": entry.combined[class_name] if entry else class_name}
    combined |= {name: value for name, (_, value) in components.items()}
    text = json.dumps(combined, indent=2)
    digest = hashlib.sha256("\0".join([text, str(decoder.absolute()), str(prior.absolute())]).encode()).hexdigest()
    folder = use_cache_folder("combined") / f"{decoder.name[:40]}-{digest[:12]}"
    if (folder / "model_index.json").is_file():
        return folder
    with wrap_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_folder(folder, overwrite=False) as temporary:
                for name, (target, _) in components.items():
                    if name in folders and target.is_dir():
                        os.symlink(target.absolute(), temporary / name, target_is_directory=True)  # noqa: PTH211
                (temporary / "model_index.json").write_text(text, encoding="utf-8")
        except FileExistsError:
            pass  # Another process created the folder.
    return folder
