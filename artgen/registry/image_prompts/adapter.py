"""Define a resolved adapter, and the table of the known adapters (`assets/image_prompts.json`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.registry.catalog import ASSETS_FOLDER
from artgen.system.counts import format_bytes


@dataclass(frozen=True)
class EncoderEntry:
    """Describe an image encoder of the table.

    Attributes:
        name: short name.
        source: hub id.
        folder: folder in the repository.
        download_size: size of its files in bytes.
        hidden_size: width of the hidden states, which plus adapters read.
        projection_dim: width of the image embedding, which base adapters read.
        license: SPDX identifier.
        processor: file with the configuration of the image processor; None for the default of CLIP.
        verified: files of the main branch that public records of the hub of 2026 name; empty if none was found.
    """

    name: str
    source: str
    folder: str
    download_size: int
    hidden_size: int
    projection_dim: int
    license: str
    processor: str | None = None
    verified: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdapterEntry:
    """Describe an adapter of the table.

    Attributes:
        name: short name.
        source: hub id.
        file: file in the repository.
        architecture: architecture of the models that the adapter fits.
        variant: base, plus, face or redux.
        encoder: name of the image encoder.
        license: SPDX identifier.
        download_size: size of the file in bytes.
        cross_attention_dim: width of the text embedding of the models that the adapter fits.
        default: whether the adapter is the default of its architecture.
        verified: files of the main branch that public records of the hub of 2026 name; empty if none was found.
    """

    name: str
    source: str
    file: str
    architecture: str
    variant: str
    encoder: str
    license: str
    download_size: int
    cross_attention_dim: int
    default: bool = False
    verified: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Return the hub id with the file."""
        return f"{self.source}/{self.file}"


@dataclass(frozen=True)
class ImagePromptAdapter:
    """Describe an adapter with its image encoder.

    Attributes:
        name: name that selects the adapter: a short name or a path.
        path: .safetensors file.
        sha256: SHA-256 of the file; empty if the file is not on the disk.
        encoder: folder of the image encoder with config.json.
        encoder_files: weight files of the image encoder, all .safetensors.
        encoder_sha256: SHA-256 of the weights of the image encoder; empty if they are not on the disk.
        source: hub id or `local`.
        revision: commit of the hub repository; None for a local file.
        license: SPDX identifier; empty if unknown.
        download_bytes: size of the files that the disk lacks; 0 if nothing is missing.
    """

    name: str
    path: Path
    sha256: str = ""
    encoder: Path = Path()
    encoder_files: tuple[Path, ...] = ()
    encoder_sha256: str = ""
    source: str = "local"
    revision: str | None = None
    license: str = ""
    download_bytes: int = 0

    @property
    def short_name(self) -> str:
        """Return the name without folders, which are private."""
        return self.path.name if self.source == "local" else self.name

    def download_note(self) -> str:
        """Return a note about an adapter that is not on the disk."""
        return (
            f"The image prompt adapter '{self.name}' ({self.source}) or its image encoder is not downloaded "
            f"({format_bytes(self.download_bytes)}, license {self.license})."
        )


@cache
def _table() -> Mapping[str, Any]:
    content: dict[str, Any] = json.loads((ASSETS_FOLDER / "image_prompts.json").read_text(encoding="utf-8"))
    return MappingProxyType(content)


def _values(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


@cache
def adapter_entries() -> Mapping[str, AdapterEntry]:
    """Return the adapters of the table by name."""
    return MappingProxyType({name: AdapterEntry(name, **_values(each)) for name, each in _table()["adapters"].items()})


@cache
def encoder_entries() -> Mapping[str, EncoderEntry]:
    """Return the image encoders of the table by name."""
    return MappingProxyType({name: EncoderEntry(name, **_values(each)) for name, each in _table()["encoders"].items()})


def find_entry(name: str) -> AdapterEntry | None:
    """Return the adapter with a short name, or with an address OWNER/NAME/FILE."""
    entries = adapter_entries()
    return entries.get(name) or next((each for each in entries.values() if each.address == name), None)


def is_known(name: str) -> bool:
    """Return whether a name is a short name of the table, or a variant such as `plus` of some architecture."""
    return name in adapter_entries() or any(
        f"{entry.name}-{name}" in adapter_entries() for entry in adapter_entries().values() if entry.default
    )
