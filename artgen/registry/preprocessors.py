"""Find the models that compute control maps: entries of `assets/preprocessors.json`, or folders on the disk."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, no_op
from artgen.registry.transformers_models import (
    ListedModel,
    check_model_folder,
    fetch_listed,
    model_files,
    read_model_type,
    read_table,
)
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity

_SEPARATOR = "+"


@dataclass(frozen=True, kw_only=True)
class PreprocessorEntry(ListedModel):
    """Describe a model of the table.

    Attributes:
        kind: kind of the control maps.
        model_types: supported architectures, as in `config.json` of transformers.
    """

    kind: str
    model_types: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessor:
    """Represent a model that computes control maps.

    Attributes:
        name: key of the table.
        entry: entry of the table.
        folder: folder with the files; None if they are not downloaded.
        is_local: whether the folder is a folder of the user, in place of the entry.
    """

    name: str
    entry: PreprocessorEntry
    folder: Path | None = None
    is_local: bool = False

    @property
    def address(self) -> str:
        """Return the hub id and the commit, as recorded; `local` for a folder of the user, which is private."""
        if self.is_local:
            return "local"
        return f"{self.entry.source}@{self.folder.name}" if self.folder else self.entry.source

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files of a downloaded model, for the cache of loaded models."""
        return model_files(self.folder)

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
    return read_table("preprocessors.json", PreprocessorEntry)


def resolve_preprocessors(
    kind: str, folders: str | None = None, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> tuple[Preprocessor, ...]:
    """Find or download the models of a kind of control maps, in the order of the table; empty without models.

    Args:
        kind: one of `artgen.spec.control.CONTROL_KINDS`.
        folders: folder of a model of the user, for a kind with two models `FOLDER+FOLDER`; None uses the table.
        offline: do not use the network.
        download: download missing files; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        UsageError: the number of folders is wrong.
        ModelUnavailableError: the files are missing and the network is disabled, or the model is not supported.
        RefusedError: a hash does not match, or the weights are a pickle.
    """
    entries = [(name, entry) for name, entry in preprocessor_entries().items() if entry.kind == kind]
    if folders is not None:
        return _local_preprocessors(kind, entries, folders)
    return tuple(
        _resolve(Preprocessor(name, entry), offline=offline, download=download, listener=listener)
        for name, entry in entries
    )


def _local_preprocessors(
    kind: str, entries: list[tuple[str, PreprocessorEntry]], folders: str
) -> tuple[Preprocessor, ...]:
    """Return the models of the user."""
    if not entries:
        raise UsageError(f"The kind {kind} needs no preprocessor.", "Remove --preprocessor.")
    names = folders.split(_SEPARATOR) if len(entries) > 1 else [folders]
    if len(names) != len(entries):
        example = _SEPARATOR.join(name.upper() for name, _ in entries)
        raise UsageError(
            f"The kind {kind} needs {len(entries)} models, not {len(names)}.", f"--preprocessor {example}, two folders."
        )
    return tuple(_local(name, entry, folder) for (name, entry), folder in zip(entries, names, strict=True))


def _local(name: str, entry: PreprocessorEntry, text: str) -> Preprocessor:
    hint = f"Use the folder of a model of transformers: {', '.join(entry.model_types)}."
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises for long names
        raise UsageError(f"The preprocessor must be a folder, not {text!r}.", hint)
    model_type = check_model_folder(folder, "preprocessor", hint)
    _check_type(text, model_type, entry, hint)
    return Preprocessor(name, entry, folder, is_local=True)


def _resolve(found: Preprocessor, *, offline: bool, download: bool, listener: Listener) -> Preprocessor:
    entry = found.entry
    option = f"artgen control {entry.kind} IMAGE --preprocessor"
    folder = fetch_listed(entry, option, offline=offline, download=download, listener=listener)
    if folder is None:
        return found
    model_type = read_model_type(folder)
    _check_type(entry.source, model_type, entry, "Use --control raw=MAP with a map of another tool.")
    return Preprocessor(found.name, entry, folder)


def _check_type(name: str, model_type: str, entry: PreprocessorEntry, hint: str) -> None:
    if model_type not in entry.model_types:
        raise ModelUnavailableError(
            f"Cannot use '{name}' as a preprocessor for {entry.kind}: its type is {model_type[:40]!r}. Supported "
            f"types: {', '.join(entry.model_types)}.",
            hint,
        )
