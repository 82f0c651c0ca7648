"""Define a resolved upscaling network, and the table of the known ones (`assets/upscalers.json`)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.registry.catalog import ASSETS_FOLDER, BUNDLED_PREFIX
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity, file_identity

SWIN2SR, RRDBNET, COMPACT = "Swin2SRForImageSuperResolution", "RRDBNet", "SRVGGNetCompact"
SD_UPSCALE, SD_LATENT_UPSCALE = "StableDiffusionUpscalePipeline", "StableDiffusionLatentUpscalePipeline"
DIFFUSION_CLASSES = (SD_UPSCALE, SD_LATENT_UPSCALE)
DEFAULT_UPSCALER = "tiny-x2"
"""Default of `--upscaler`: it needs no download."""


HUB_FILE = re.compile(r"([^/]+/[^/]+)/((?!(?:.*/)?\.\.?/)(?:[^/\\:]+/)*[^/\\:]+\.safetensors)")
"""Address of a file on the hub: OWNER/NAME/FILE.safetensors."""


@dataclass(frozen=True)
class UpscalerEntry:
    """Describe an upscaling network of the table. The attributes have the names of its keys.

    Attributes:
        name: short name.
        source: hub id, or `bundled:NAME` for a network that ships with artgen.
        class_name: class of transformers or diffusers, or SRVGGNetCompact.
        scale: factor of both sides.
        license: SPDX identifier or name of the license.
        download_size: size of the files that artgen selects, in bytes; None if unknown.
        description: images for which the network is suitable.
    """

    name: str
    source: str
    class_name: str
    scale: int
    license: str
    download_size: int | None
    description: str

    @property
    def bundled_folder(self) -> Path | None:
        """Return the folder of the network inside artgen; None if the network is not part of artgen."""
        if self.source.startswith(BUNDLED_PREFIX):
            return ASSETS_FOLDER / self.source.removeprefix(BUNDLED_PREFIX)
        return None


@dataclass(frozen=True)
class Upscaler:
    """Describe an upscaling network on the disk, or one on the hub of which only the configuration is on the disk.

    Attributes:
        name: name that selects the network: a short name, a hub id or a path.
        path: folder with the configuration and the weights, or a .safetensors file.
        class_name: Swin2SRForImageSuperResolution, RRDBNet, SRVGGNetCompact, StableDiffusionUpscalePipeline or
            StableDiffusionLatentUpscalePipeline.
        scale: factor of both sides.
        files: all files that are loaded; empty if the weights are not on the disk.
        config: sizes of a network in a single file; the configuration of a model of transformers.
        sha256: SHA-256 of the weights; empty if the weights are not on the disk.
        license: SPDX identifier or name of the license; empty if unknown.
        source: hub id, `bundled:NAME` or `local`.
        revision: commit of the hub repository; None for a local network.
        download_bytes: size of the files that a hub repository has and the disk lacks; 0 if nothing is missing.
    """

    name: str
    path: Path
    class_name: str
    scale: int
    files: tuple[Path, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    sha256: str = ""
    license: str = ""
    source: str = "local"
    revision: str | None = None
    download_bytes: int = 0

    @property
    def is_diffusion(self) -> bool:
        """Return whether the network is a diffusion pipeline, whose result depends on a seed."""
        return self.class_name in DIFFUSION_CLASSES

    @property
    def identities(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files, for the cache of loaded models."""
        return tuple(file_identity(path) for path in self.files)

    @property
    def address(self) -> str:
        """Return the hub id and the commit, `bundled:NAME` or `local`, as recorded."""
        return f"{self.source}@{self.revision}" if self.revision else self.source

    @property
    def recorded_name(self) -> str:
        """Return the name as recorded: without the folders of a local network, and the short name of a listed one."""
        if self.source == "local":
            return self.path.name
        entry = find_entry(self.name.partition("@")[0])
        return entry.name if entry else self.name

    def download_notes(self) -> tuple[str, ...]:
        """Return a sentence about the download that the network needs; empty if its files are on the disk."""
        if not self.download_bytes:
            return ()
        terms = f" ({self.license})" if self.license else ""
        size = format_bytes(self.download_bytes)
        return (f"The upscaler '{self.source}'{terms} will be downloaded: about {size}.",)

    def provenance(self) -> dict[str, Any]:
        """Return the origin of the network for the record."""
        values = {"upscale_model_source": self.address, "upscale_model_sha256": self.sha256}
        return {name: value for name, value in values.items() if value}


@cache
def upscaler_entries() -> Mapping[str, UpscalerEntry]:
    """Return all entries of the table by name."""
    table: dict[str, dict[str, Any]] = json.loads((ASSETS_FOLDER / "upscalers.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: UpscalerEntry(name=name, **values) for name, values in table.items()})


def find_entry(name: str) -> UpscalerEntry | None:
    """Return the entry with a short name or a hub id."""
    entries = upscaler_entries()
    return entries.get(name) or next((entry for entry in entries.values() if entry.source == name), None)


def input_sizes(size: tuple[int, int], scale: int, target: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Return the size of the image before each pass of a network, (width, height) in pixels.

    A network runs again while its result is smaller than the target. The input of a later pass is not larger than
    necessary.

    Args:
        size: size of the image.
        scale: factor of both sides of the network.
        target: size of the result; None is one pass.
    """
    sizes = [size]
    while target is not None and scale > 1:
        enlarged = [side * scale for side in sizes[-1]]
        if all(new >= wanted for new, wanted in zip(enlarged, target, strict=True)):
            break
        needed = [-(-wanted // scale) for wanted in target]
        sizes.append((min(enlarged[0], needed[0]), min(enlarged[1], needed[1])))
    return sizes


def size_notes(upscaler: Upscaler, size: tuple[int, int], target: tuple[int, int]) -> tuple[str, ...]:
    """Return a sentence if a network runs several times, or if its result has another size than the target."""
    sizes = input_sizes(size, upscaler.scale, target)
    notes = []
    if len(sizes) > 1:
        notes.append(f"The upscaler '{upscaler.name}' has the scale {upscaler.scale} and runs {len(sizes)} times.")
    result = tuple(side * upscaler.scale for side in sizes[-1])
    if result != target:
        text = f"The upscaler '{upscaler.name}' enlarges by {upscaler.scale}"
        notes.append(f"{text}; its result is resized to {target[0]}x{target[1]} with Lanczos.")
    return tuple(notes)
