"""Find the CLIP model of `--score clip`: an entry of `assets/score_models.json`, a hub id, or a folder on the disk."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, no_op
from artgen.registry.extras import cached_hub_files
from artgen.registry.hub import cache as hub_cache
from artgen.registry.hub import client
from artgen.registry.hub.named_files import select_named
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.registry.transformers_models import (
    ListedModel,
    check_model_folder,
    fetch_listed,
    model_files,
    read_model_type,
    read_table,
)
from artgen.spec.fields import describe_value
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity

DEFAULT_SCORE_MODEL = "clip"
_TITLE = "CLIP model"
_MODEL_TYPE = "clip"
_OPTION = "--score-model"


@dataclass(frozen=True)
class ScoreModel:
    """Represent a CLIP model that scores images for a text.

    Attributes:
        name: name, hub id or folder, as typed.
        folder: folder with the files; None if they are not downloaded.
        source: hub id or `local`.
        revision: commit of the hub repository; empty for a local model.
        license: SPDX identifier of the license; empty if unknown.
        download_bytes: size of the missing files in bytes; 0 if all are on the disk.
    """

    name: str
    folder: Path | None = None
    source: str = "local"
    revision: str = ""
    license: str = ""
    download_bytes: int = 0

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files of a downloaded model, for the cache of loaded models."""
        return model_files(self.folder)

    @property
    def address(self) -> str:
        """Return the origin of the model, as recorded: the hub id with the commit, or `local`."""
        return f"{self.source}@{self.revision}" if self.revision else self.source

    @property
    def download_note(self) -> str:
        """Return a sentence about the download that the model needs; empty if its files are on the disk."""
        if not self.download_bytes:
            return ""
        terms = self.license or "see its page for the license"
        return f"The {_TITLE} '{self.source}' ({terms}) will be downloaded: about {format_bytes(self.download_bytes)}."


@cache
def score_model_entries() -> Mapping[str, ListedModel]:
    """Return all entries of the table by name."""
    return read_table("score_models.json", ListedModel)


def resolve_score_model(
    name: str | None, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> ScoreModel:
    """Find a CLIP model on the disk, or download it.

    Args:
        name: short name, a hub id, or a folder; None selects the default.
        offline: do not use the network.
        download: download missing files; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        UsageError: the name is neither a short name, a hub id nor a folder.
        ModelUnavailableError: the files are not on the disk and the network is disabled, or it is not a CLIP model.
        RefusedError: the weights are a pickle.
    """
    typed = name or DEFAULT_SCORE_MODEL
    entries = score_model_entries()
    listed = next((entry for key, entry in entries.items() if typed in (key, entry.source)), None)
    hint = f"Use {', '.join(entries)}, a hub id (OWNER/NAME), or the folder of a CLIP model of transformers."
    if listed is None:
        folder = Path(os.path.expanduser(typed))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
        if os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises for long names
            _check_type(typed, check_model_folder(folder, _TITLE, hint), hint)
            return ScoreModel(typed, folder)
        if not HUB_ID_PATTERN.fullmatch(typed):
            raise UsageError(f"Unknown {_TITLE}: {describe_value(typed)}.", hint, settings=("score_model",))
        listed = _unlisted(typed, offline=offline)
    found = ScoreModel(typed, source=listed.source, license=listed.license)
    folder_on_disk = fetch_listed(listed, _OPTION, offline=offline, download=download, listener=listener)
    if folder_on_disk is None:
        return replace(found, download_bytes=listed.download_size)
    _check_type(typed, read_model_type(folder_on_disk), hint)
    return replace(found, folder=folder_on_disk, revision=folder_on_disk.name)


def _unlisted(repo: str, *, offline: bool) -> ListedModel:
    """Return the description of a model that the table does not list, with the size of its files on the hub.

    Raises:
        ModelUnavailableError: the repository is unknown, or it lacks a file.
    """
    names = score_model_entries()[DEFAULT_SCORE_MODEL].files
    if offline or hub_cache.is_offline() or cached_hub_files(repo, names) is not None:
        return ListedModel(source=repo, license="", download_size=0, files=names)
    files = select_named(client.fetch_listing(repo, None), names)
    return ListedModel(source=repo, license="", download_size=sum(file.size for file in files), files=names)


def _check_type(name: str, model_type: str, hint: str) -> None:
    if model_type != _MODEL_TYPE:
        raise ModelUnavailableError(
            f"Cannot use '{name}' as a {_TITLE}: its type is {describe_value(model_type)}, not 'clip'.", hint
        )
