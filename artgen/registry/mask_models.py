"""Find the models of text masks: entries of `assets/mask_models.json`, or folders on the disk."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry import extras
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.hub import cache as hub_cache
from artgen.registry.model_configs import read_config
from artgen.registry.safetensors_header import reject_pickle
from artgen.spec.mask_source import LOCAL_PREFIX
from artgen.spec.settings import MASK_MODELS
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity, file_identity

DEFAULT_MASK_MODEL = "clipseg"
_MODEL_TYPES = ("clipseg", "grounding-dino", "owlv2")
_SEPARATOR = "+"


@dataclass(frozen=True)
class MaskModelEntry:
    """Describe a model of the table. The attributes have the names of its keys.

    Attributes:
        source: hub id.
        license: SPDX identifier of the license.
        download_size: size of the files in bytes.
        model_type: architecture, as in `config.json` of transformers.
        files: files that artgen downloads.
        threshold: default of `--mask-threshold`.
        segmenter: entry of the model that converts boxes to masks; empty for a model that scores pixels.
    """

    source: str
    license: str
    download_size: int
    model_type: str
    files: tuple[str, ...]
    threshold: float = 0.5
    segmenter: str = ""


@dataclass(frozen=True)
class MaskModel:
    """Represent a mask model.

    Attributes:
        name: name or folder, as typed.
        model_type: architecture, as in `config.json` of transformers.
        threshold: default of `--mask-threshold`.
        folder: folder with the files; None if they are not downloaded.
        source: hub id or `local`.
        revision: commit of the hub repository; empty for a local model.
        license: SPDX identifier of the license; empty for a local model.
        download_bytes: size of the missing files in bytes; 0 if all are on the disk.
        segmenter: model that converts boxes to masks; None for a model that scores pixels.
    """

    name: str
    model_type: str
    threshold: float
    folder: Path | None = None
    source: str = "local"
    revision: str = ""
    license: str = ""
    download_bytes: int = 0
    segmenter: "MaskModel | None" = None

    @property
    def parts(self) -> "tuple[MaskModel, ...]":
        """Return the model and its segmenter."""
        return (self,) if self.segmenter is None else (self, self.segmenter)

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files of a downloaded model, for the cache of loaded models."""
        if self.folder is None:
            return ()
        names = sorted(each for each in self.folder.iterdir() if each.suffix in (".json", ".txt", ".safetensors"))
        return tuple(file_identity(path) for path in names)

    def download_notes(self) -> tuple[str, ...]:
        """Return a sentence about each download that the model needs."""
        return tuple(
            f"The mask model '{part.source}' ({part.license}) will be downloaded: about "
            f"{format_bytes(part.download_bytes)}."
            for part in self.parts
            if part.download_bytes
        )

    def provenance(self) -> dict[str, Any]:
        """Return the origins of the model and its segmenter for the record."""
        addresses = [f"{part.source}@{part.revision}" if part.revision else part.source for part in self.parts]
        return {"mask_model_source": addresses}


@cache
def mask_model_entries() -> Mapping[str, MaskModelEntry]:
    """Return all entries of the table by name."""
    table: dict[str, dict[str, Any]] = json.loads((ASSETS_FOLDER / "mask_models.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {name: MaskModelEntry(**{**values, "files": tuple(values["files"])}) for name, values in table.items()}
    )


def resolve_mask_model(
    name: str, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> MaskModel:
    """Find a mask model on the disk, or download it.

    Args:
        name: short name, a hub id of the table, or a folder; `DETECTOR+SEGMENTER` for a detector with another SAM.
        offline: do not use the network.
        download: download missing files; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        UsageError: the model is unknown.
        ModelUnavailableError: the files are not on the disk and the network is disabled, or the model is not supported.
        RefusedError: the weights are a pickle.
    """
    detector, _, segmenter = (name, "", "") if _is_folder(name) else name.partition(_SEPARATOR)
    found = _resolve_part(detector, _MODEL_TYPES, offline=offline, download=download, listener=listener)
    if found.model_type != "clipseg":
        part = _resolve_part(segmenter or "sam", ("sam",), offline=offline, download=download, listener=listener)
        found = replace(found, segmenter=part)
    elif segmenter:
        raise UsageError(
            f"The mask model {detector!r} scores pixels and needs no segmenter.",
            f"--mask-model {detector}",
            settings=("mask_model",),
        )
    return replace(found, name=name)


def _resolve_part(
    name: str, model_types: tuple[str, ...], *, offline: bool, download: bool, listener: Listener
) -> MaskModel:
    if name.startswith(LOCAL_PREFIX):
        raise ModelUnavailableError(
            f"The recorded mask model {name.removeprefix(LOCAL_PREFIX)!r} was a folder, and the mask must be computed "
            "again.",
            "Set its path: --set mask_model=PATH",
        )
    entries = mask_model_entries()
    key = next((key for key, entry in entries.items() if name in (key, entry.source)), None)
    if key is None:
        return _local_model(name, model_types)
    entry = entries[key]
    _check_type(name, entry.model_type, model_types)
    found = MaskModel(name, entry.model_type, entry.threshold, source=entry.source, license=entry.license)
    snapshot = hub_cache.snapshot_folder(entry.source)
    is_complete = snapshot is not None and all((snapshot / file).is_file() for file in entry.files)
    if not download and not is_complete and not (offline or hub_cache.is_offline()):
        return replace(found, download_bytes=entry.download_size)
    if not is_complete and not (offline or hub_cache.is_offline()):
        listener(Notice(f"Downloading '{entry.source}': about {format_bytes(entry.download_size)}."))
    files = extras.fetch_hub_files(
        entry.source,
        entry.files,
        offline=offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    return replace(found, folder=files.folder, revision=files.folder.name)


def _is_folder(name: str) -> bool:
    return os.path.isdir(os.path.expanduser(name))  # noqa: PTH111, PTH112 - Path raises for long names and ~user


def _local_model(name: str, model_types: tuple[str, ...]) -> MaskModel:
    hint = f"Use {', '.join(MASK_MODELS)}, or the folder of a model of transformers."
    if not _is_folder(name):
        raise UsageError(f"Unknown mask model: {name!r}.", hint, settings=("mask_model",))
    folder = Path(os.path.expanduser(name))  # noqa: PTH111
    if not (folder / "config.json").is_file():
        raise ModelUnavailableError(f"'{name}' is not a mask model: it has no config.json.", hint)
    model_type = str(read_config(folder / "config.json").get("model_type"))
    _check_type(name, model_type, model_types)
    if not any(folder.glob("*.safetensors")):
        for file in sorted(folder.iterdir()):
            reject_pickle(file)
        raise ModelUnavailableError(f"The mask model '{name}' has no .safetensors weights.", "Use another copy.")
    defaults = {entry.model_type: entry.threshold for entry in mask_model_entries().values()}
    return MaskModel(name, model_type, defaults[model_type], folder)


def _check_type(name: str, model_type: str, model_types: tuple[str, ...]) -> None:
    if model_type not in model_types:
        raise ModelUnavailableError(
            f"Cannot use '{name}' as a mask model here: its type is {model_type[:40]!r}, not "
            f"{' or '.join(model_types)}.",
            f"Use {', '.join(MASK_MODELS)}, or the folder of such a model. A detector needs a SAM (version 1).",
        )
