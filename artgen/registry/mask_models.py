"""Find the models of text masks: entries of `assets/mask_models.json`, or folders on the disk."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, no_op
from artgen.registry.transformers_models import (
    ListedModel,
    check_model_folder,
    fetch_listed,
    model_files,
    read_table,
)
from artgen.spec.mask_source import LOCAL_PREFIX
from artgen.spec.settings import MASK_MODELS
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity

DEFAULT_MASK_MODEL = "clipseg"
_MODEL_TYPES = ("clipseg", "grounding-dino", "owlv2")
_SEPARATOR = "+"


@dataclass(frozen=True, kw_only=True)
class MaskModelEntry(ListedModel):
    """Describe a model of the table.

    Attributes:
        model_type: architecture, as in `config.json` of transformers.
        threshold: default of `--mask-threshold`.
        segmenter: entry of the model that converts boxes to masks; empty for a model that scores pixels.
    """

    model_type: str
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
        return model_files(self.folder)

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
    return read_table("mask_models.json", MaskModelEntry)


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
    folder = fetch_listed(entry, "--mask-model", offline=offline, download=download, listener=listener)
    if folder is None:
        return replace(found, download_bytes=entry.download_size)
    return replace(found, folder=folder, revision=folder.name)


def _is_folder(name: str) -> bool:
    return os.path.isdir(os.path.expanduser(name))  # noqa: PTH111, PTH112 - Path raises for long names and ~user


def _local_model(name: str, model_types: tuple[str, ...]) -> MaskModel:
    hint = f"Use {', '.join(MASK_MODELS)}, or the folder of a model of transformers."
    if not _is_folder(name):
        raise UsageError(f"Unknown mask model: {name!r}.", hint, settings=("mask_model",))
    folder = Path(os.path.expanduser(name))  # noqa: PTH111
    model_type = check_model_folder(folder, "mask model", hint)
    _check_type(name, model_type, model_types)
    defaults = {entry.model_type: entry.threshold for entry in mask_model_entries().values()}
    return MaskModel(name, model_type, defaults[model_type], folder)


def _check_type(name: str, model_type: str, model_types: tuple[str, ...]) -> None:
    if model_type not in model_types:
        raise ModelUnavailableError(
            f"Cannot use '{name}' as a mask model here: its type is {model_type[:40]!r}, not "
            f"{' or '.join(model_types)}.",
            f"Use {', '.join(MASK_MODELS)}, or the folder of such a model. A detector needs a SAM (version 1).",
        )
