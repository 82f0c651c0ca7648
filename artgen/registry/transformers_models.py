"""Find or download models of transformers that a table in `assets/` lists: mask models and preprocessors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from artgen.errors import ModelUnavailableError
from artgen.events import Downloading, Listener, Notice
from artgen.registry import extras
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.hub import cache
from artgen.registry.model_configs import read_config
from artgen.registry.safetensors_header import reject_pickle
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity, file_identity

_FILE_SUFFIXES = (".json", ".txt", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """Describe a model of a table. The attributes have the names of its keys.

    Attributes:
        source: hub id.
        license: SPDX identifier of the license.
        download_size: size of the files in bytes.
        files: files that artgen downloads.
        revisions: revisions of the repository in the order in which artgen searches the files: commits, branches, or
            pull requests (`refs/pr/N`).
        verified: files of the first revision that public records of the hub of 2026 name; empty if none was found.
    """

    source: str
    license: str
    download_size: int
    files: tuple[str, ...]
    revisions: tuple[str, ...] = ("main",)
    verified: tuple[str, ...] = ()


Entry = TypeVar("Entry", bound=ListedModel)


def read_table(file_name: str, entry_class: type[Entry]) -> Mapping[str, Entry]:
    """Return the entries of a table in `assets/` by name."""
    table: dict[str, dict[str, Any]] = json.loads((ASSETS_FOLDER / file_name).read_text(encoding="utf-8"))
    return MappingProxyType({name: entry_class(**_with_tuples(values)) for name, values in table.items()})


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def fetch_listed(
    entry: ListedModel, folder_option: str, *, offline: bool, download: bool, listener: Listener
) -> Path | None:
    """Return the folder with the files of a model; None if they are not on the disk and `download` is not set.

    Args:
        entry: entry of a table.
        folder_option: option that selects a folder of the user, for the hint of an error.
        offline: do not use the network.
        download: download missing files.
        listener: receives the events of the download.

    Raises:
        ModelUnavailableError: the files are not on the disk and the network is disabled, or no revision has the files.
        RefusedError: a hash does not match.
    """
    is_cached = extras.cached_hub_files(entry.source, entry.files, entry.revisions) is not None
    if not is_cached and not (offline or cache.is_offline()):
        if not download:
            return None
        listener(Notice(f"Downloading '{entry.source}': about {format_bytes(entry.download_size)}."))
    try:
        found = extras.fetch_hub_files(
            entry.source,
            entry.files,
            revisions=entry.revisions,
            offline=offline,
            on_download=lambda file, done, total: listener(Downloading(file, done, total)),
        )
    except extras.MissingFilesError as error:
        raise ModelUnavailableError(
            f"{error.message} artgen loads only .safetensors weights.",
            f"Run `hf download {entry.source} --local-dir FOLDER` and `artgen models convert FOLDER`, and use "
            f"{folder_option} FOLDER.",
        ) from None
    return found.folder


def model_files(folder: Path | None) -> tuple[FileIdentity, ...]:
    """Return the identities of the files of a model; empty without a folder."""
    if folder is None:
        return ()
    return tuple(file_identity(path) for path in sorted(folder.iterdir()) if path.suffix in _FILE_SUFFIXES)


def read_model_type(folder: Path) -> str:
    """Return the architecture of a model, as in its configuration.

    Raises:
        InputFileError, ModelUnavailableError: the configuration is damaged.
    """
    return str(read_config(folder / "config.json").get("model_type"))


def check_model_folder(folder: Path, title: str, hint: str) -> str:
    """Return the architecture of a model in a folder of the user.

    Args:
        folder: folder on the disk.
        title: what the folder must contain, for messages.
        hint: hint of an error.

    Raises:
        ModelUnavailableError: the folder has no configuration or no .safetensors weights.
        RefusedError: the weights are a pickle.
    """
    if not (folder / "config.json").is_file():
        raise ModelUnavailableError(f"Cannot use '{folder}' as {title}: it has no config.json.", hint)
    model_type = read_model_type(folder)
    if not any(folder.glob("*.safetensors")):
        for file in sorted(folder.iterdir()):
            reject_pickle(file)
        raise ModelUnavailableError(f"The {title} '{folder}' has no .safetensors weights.", "Use another copy.")
    return model_type
