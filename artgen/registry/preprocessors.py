"""Find or download the models that compute control maps (`assets/preprocessors.json`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.extras import fetch_hub_files
from artgen.registry.hub import cache as hub_cache
from artgen.registry.model_configs import read_config
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity, file_identity

FILE_NAMES = ("config.json", "preprocessor_config.json", "model.safetensors")


@dataclass(frozen=True)
class PreprocessorEntry:
    """Describe a model of the table. The attributes have the names of its keys.

    Attributes:
        source: hub id.
        license: SPDX identifier of the license.
        download_size: size of the files in bytes.
        kind: kind of the control maps.
        model_types: supported architectures, as in `config.json` of transformers.
    """

    source: str
    license: str
    download_size: int
    kind: str
    model_types: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessor:
    """Represent a model that computes control maps.

    Attributes:
        name: key of the table.
        entry: entry of the table.
        folder: folder with the files; None if they are not downloaded.
    """

    name: str
    entry: PreprocessorEntry
    folder: Path | None = None

    @property
    def address(self) -> str:
        """Return the hub id and the commit, as recorded."""
        return f"{self.entry.source}@{self.folder.name}" if self.folder else self.entry.source

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files of a downloaded model, for the cache of loaded models."""
        return () if self.folder is None else tuple(file_identity(self.folder / name) for name in FILE_NAMES)

    @property
    def download_note(self) -> str:
        """Return a sentence about the download that the model needs; empty if its files are on the disk."""
        if self.folder is not None:
            return ""
        size, terms = format_bytes(self.entry.download_size), self.entry.license
        return f"The preprocessor '{self.entry.source}' ({terms}) is not downloaded ({size})."


@cache
def preprocessor_entries() -> Mapping[str, PreprocessorEntry]:
    """Return all entries of the table by name."""
    table: dict[str, dict[str, Any]] = json.loads((ASSETS_FOLDER / "preprocessors.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: PreprocessorEntry(**{**values, "model_types": tuple(values["model_types"])})
            for name, values in table.items()
        }
    )


def resolve_preprocessors(
    kind: str, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> tuple[Preprocessor, ...]:
    """Find or download the models of a kind of control maps, in the order of the table; empty without models.

    Args:
        kind: one of `artgen.spec.control.CONTROL_KINDS`.
        offline: do not use the network.
        download: download missing files; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        ModelUnavailableError: the files are missing and the network is disabled, or the model is not supported.
        RefusedError: a hash does not match.
    """
    entries = ((name, entry) for name, entry in preprocessor_entries().items() if entry.kind == kind)
    return tuple(
        _resolve(Preprocessor(name, entry), offline=offline, download=download, listener=listener)
        for name, entry in entries
    )


def _resolve(found: Preprocessor, *, offline: bool, download: bool, listener: Listener) -> Preprocessor:
    entry = found.entry
    snapshot = hub_cache.snapshot_folder(entry.source)
    is_complete = snapshot is not None and all((snapshot / name).is_file() for name in FILE_NAMES)
    if not is_complete and not (offline or hub_cache.is_offline()):
        if not download:
            return found
        listener(Notice(f"Downloading '{entry.source}': about {format_bytes(entry.download_size)}."))
    files = fetch_hub_files(
        entry.source,
        FILE_NAMES,
        offline=offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    model_type = str(read_config(files.folder / "config.json").get("model_type"))
    if model_type not in entry.model_types:
        raise ModelUnavailableError(
            f"Cannot use the preprocessor '{entry.source}': its type is {model_type[:40]!r}, not "
            f"{' or '.join(entry.model_types)}.",
            "Use --control raw=MAP with a map of another tool.",
        )
    return Preprocessor(found.name, entry, files.folder)
