"""Find or download the models that compute control maps (`assets/preprocessors.json`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.events import Listener, no_op
from artgen.registry.transformers_models import ListedModel, fetch_listed, model_files, read_model_type, read_table
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity


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
    folder = fetch_listed(entry, "--preprocessor", offline=offline, download=download, listener=listener)
    if folder is None:
        return found
    model_type = read_model_type(folder)
    if model_type not in entry.model_types:
        raise ModelUnavailableError(
            f"Cannot use the preprocessor '{entry.source}': its type is {model_type[:40]!r}, not "
            f"{' or '.join(entry.model_types)}.",
            "Use --control raw=MAP with a map of another tool.",
        )
    return Preprocessor(found.name, entry, folder)
