"""Define a resolved control net."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.system.counts import format_bytes


@dataclass(frozen=True)
class ControlNet:
    """Describe a control net on the disk, or a net in a hub repository of which only the configuration is on the disk.

    Attributes:
        name: name that selects the net: an alias, a hub id or a path.
        path: folder with config.json and weights, or a .safetensors file.
        class_name: class of diffusers: ControlNetModel, ControlNetUnionModel, SD3ControlNetModel, FluxControlNetModel
            or T2IAdapter.
        architecture: architecture of the models that the net fits: sd1, sd2, sdxl, sd3 or flux.
        kinds: kinds of control maps that the net reads; empty if unknown.
        config: configuration of the net with the keys of diffusers; for a single file derived from its tensors.
        sha256: SHA-256 of the weights; empty if the weights are not on the disk.
        is_inpaint: whether the net reads the masked input image instead of a control map.
        license: SPDX id or name of the license; empty if unknown.
        modes: index of the control type of a union net, by kind; empty for other nets.
        files: weight files, all .safetensors; empty if the weights are not on the disk.
        source: hub id, `bundled` or `local`.
        revision: commit of the hub repository; None for other sources.
        download_bytes: size of the weights that a hub repository has and the disk lacks; 0 if nothing is missing.
    """

    name: str
    path: Path
    class_name: str
    architecture: str
    kinds: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    sha256: str = ""
    is_inpaint: bool = False
    license: str = ""
    modes: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    files: tuple[Path, ...] = ()
    source: str = "local"
    revision: str | None = None
    download_bytes: int = 0

    @property
    def is_file(self) -> bool:
        """Return whether the net is a single .safetensors file."""
        return self.path.suffix.lower() == ".safetensors"

    @property
    def is_union(self) -> bool:
        """Return whether one net reads several kinds of maps, and receives the kind as an argument."""
        return bool(self.modes)

    @property
    def short_name(self) -> str:
        """Return the name without folders, which are private."""
        return self.path.name if self.source == "local" else self.name

    def download_note(self) -> str:
        """Return a note about a net whose weights are not on the disk."""
        license_text = f", license {self.license}" if self.license else ""
        return (
            f"The control net '{self.name}' ({self.source}) is not downloaded ({format_bytes(self.download_bytes)}"
            f"{license_text}). Its weights were not checked."
        )

    @property
    def reads_mask(self) -> bool:
        """Return whether the net has the mask as a further input channel (Stable Diffusion 3)."""
        return self.class_name == "SD3ControlNetModel" and bool(self.config.get("extra_conditioning_channels"))

    @property
    def is_adapter(self) -> bool:
        """Return whether the net is a T2I-Adapter."""
        return self.class_name == "T2IAdapter"
