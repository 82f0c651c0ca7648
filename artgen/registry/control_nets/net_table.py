"""List the control nets that artgen knows (`assets/control_nets.json`): the default nets, and nets with a short name.

The order of the entries matters: the first entry that fits a model is its default net of a kind.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.registry.catalog import ASSETS_FOLDER, BUNDLED_PREFIX

EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class NetEntry:
    """Describe a control net. The attributes have the names of the keys of the table.

    Attributes:
        name: short name.
        source: hub id, or `bundled:NAME` for a net that ships with artgen.
        class_name: class of diffusers.
        architecture: architecture of the models that the net fits.
        kinds: kinds of control maps that the net reads.
        license: SPDX identifier or name of the license.
        download_size: size of the files that artgen selects, in bytes; None if unknown, or if artgen includes the net.
        file: name of the file, if the repository has no config.json of the net.
        default_for: kinds for which the net is the default net.
        fits: values of the denoiser's configuration of the models that the net fits.
        modes: index of the control type of a union net, by kind.
        is_inpaint: whether the net reads the masked input image instead of a control map.
        gated: whether the hub requires that the user accepts the license.
        verified: files of the main branch that public records of the hub of 2026 name; empty if none was found.
    """

    name: str
    source: str
    class_name: str
    architecture: str
    kinds: tuple[str, ...]
    license: str
    download_size: int | None = None
    file: str | None = None
    default_for: tuple[str, ...] = ()
    fits: Mapping[str, Any] = field(default_factory=lambda: EMPTY, hash=False)
    modes: Mapping[str, int] = field(default_factory=lambda: EMPTY, hash=False)
    is_inpaint: bool = False
    gated: bool = False
    verified: tuple[str, ...] = ()

    @property
    def bundled_folder(self) -> Path | None:
        """Return the folder of the net inside artgen; None if the net is not part of artgen."""
        if self.source.startswith(BUNDLED_PREFIX):
            return ASSETS_FOLDER / self.source.removeprefix(BUNDLED_PREFIX)
        return None

    @property
    def address(self) -> str:
        """Return the hub id, with the file if the repository has several nets."""
        return f"{self.source}/{self.file}" if self.file else self.source

    def fits_denoiser(self, config: Mapping[str, Any]) -> bool:
        """Return whether the net fits a model with this configuration of the denoiser."""
        return all(config.get(key) == value for key, value in self.fits.items())


@cache
def net_entries() -> Mapping[str, NetEntry]:
    """Return all entries of the table by name, in order."""
    table: dict[str, dict[str, Any]] = json.loads((ASSETS_FOLDER / "control_nets.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: _entry(name, values) for name, values in table.items()})


def _entry(name: str, values: Mapping[str, Any]) -> NetEntry:
    lists = {key: tuple(values[key]) for key in ("kinds", "default_for", "verified") if key in values}
    return NetEntry(name=name, **{**values, **lists})


def default_entry(kind: str, architecture: str, denoiser_config: Mapping[str, Any]) -> NetEntry | None:
    """Return the default net of a kind of control maps for a model; None if the table has none."""
    for entry in net_entries().values():
        if kind in entry.default_for and entry.architecture == architecture and entry.fits_denoiser(denoiser_config):
            return entry
    return None


def default_kinds(architecture: str, denoiser_config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds that have a default net for a model, in the order of the table."""
    kinds = dict.fromkeys(kind for entry in net_entries().values() for kind in entry.default_for)
    return tuple(kind for kind in kinds if default_entry(kind, architecture, denoiser_config))


def find_entry(address: str) -> NetEntry | None:
    """Return the entry with a short name, a hub id, or a hub id with a file name."""
    entries = net_entries()
    return entries.get(address) or next((entry for entry in entries.values() if entry.address == address), None)
