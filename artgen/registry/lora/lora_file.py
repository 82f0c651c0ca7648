"""What a LoRA is, from its header: form, architecture, rank, the layers it changes, its hashes.

Low-rank adaptation: Hu et al. 2021, arXiv 2106.09685. The metadata are those of kohya's sd-scripts (`ss_...`) and of
Stability AI's ModelSpec (`modelspec....`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError
from artgen.registry import file_hash
from artgen.registry.lora.keys import LayerKey, parse_tensor_key
from artgen.registry.safetensors_header import (
    SafetensorsHeader,
    detect_architecture,
    inspect_file,
    read_header,
    reject_pickle,
)

ARCHITECTURE_NAMES = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
}
"""Architectures in words."""

_METADATA_ARCHITECTURES = (
    ("stable-diffusion-xl", "sdxl"), ("sdxl", "sdxl"), ("stable-diffusion-v2", "sd2"), ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"), ("sd_v1", "sd1"), ("stable-diffusion-3", "sd3"), ("sd3", "sd3"), ("flux", "flux"),
)  # fmt: skip
"""How `modelspec.architecture` and `ss_base_model_version` begin."""

_UNSUPPORTED_MARKERS = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", ".hada_": "LoHa", ".lokr_": "LoKr", ".oft_": "OFT",
    "lora_mid.": "LoCon with a third matrix", ".diff": "full difference", "lora_te3_": "LoRA of a T5 text encoder",
    "text_encoder_3.": "LoRA of a T5 text encoder",
}  # fmt: skip
"""Marks of kinds of adapters that diffusers does not load, or not whole."""


LORA_COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
"""What diffusers lets a LoRA change."""


class LayerShape(NamedTuple):
    """Numbers in and out of a layer, the sides of its convolution (empty without), and the rank of what changes it."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    rank: int


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA on the disk.

    Attributes:
        path: the file.
        format: diffusers (peft's names and older ones) or kohya (those of sd-scripts).
        architecture: sd1, sd2, sdxl, sd3, flux, or other where neither shapes nor metadata tell.
        layers: every layer that it changes.
        dtype: of most numbers, as safetensors calls it.
        metadata: free text of its author's.
        sha256: of the file, 64 hexadecimal digits.
        autov3: of its tensors' bytes alone, 12 digits: what AUTOMATIC1111 writes and Civitai calls AutoV3.
    """

    path: Path
    format: str
    architecture: str
    layers: Mapping[LayerKey, LayerShape]
    dtype: str
    metadata: Mapping[str, str]
    sha256: str
    autov3: str

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of a pipeline that it changes, by diffusers' names."""
        touched = {layer.component for layer in self.layers}
        return tuple(part for part in LORA_COMPONENTS if part in touched)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Every rank that occurs, ascending."""
        return tuple(sorted({shape.rank for shape in self.layers.values()}))


def read_lora(path: Path) -> LoraFile:
    """Reads a LoRA's header, and hashes the file, once for each of its versions.

    Raises:
        RefusedError: a pickle, by its name.
        InputFileError: unreadable, damaged, no LoRA, or of a kind that cannot be used.
    """
    reject_pickle(path)
    try:
        stat = path.stat()
    except OSError as problem:
        raise InputFileError(f"{path} cannot be read: {problem.strerror}.", "Check the path and its rights.") from None
    return _read_cached(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _read_cached(path: Path, size: int, modified: int) -> LoraFile:  # noqa: ARG001 - they tell versions of a file apart
    header = read_header(path)
    layers = _parse_layers(path, header)
    shapes = {name: shape for name, (_, shape) in header.tensors.items()}
    architecture = detect_architecture(shapes)[0]
    return LoraFile(
        path=path,
        format="kohya" if any(name.startswith("lora_") for name in header.tensors) else "diffusers",
        architecture=_architecture_from_metadata(header.metadata) if architecture == "other" else architecture,
        layers=layers,
        dtype=header.dtype,
        metadata=header.metadata,
        sha256=file_hash(path),
        autov3=file_hash(path, tensors_only=True)[:12],
    )


def _architecture_from_metadata(metadata: Mapping[str, str]) -> str:
    """The architecture that the metadata name; other where they name none that is known."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = str(metadata.get(key, "")).lower()
        for start, architecture in _METADATA_ARCHITECTURES:
            if text.startswith(start):
                return architecture
    return "other"


def _parse_layers(path: Path, header: SafetensorsHeader) -> dict[LayerKey, LayerShape]:
    """Every layer with its two matrices; a file with anything else is refused, since diffusers would drop it."""
    for mark, kind in _UNSUPPORTED_MARKERS.items():
        if any(mark in name for name in header.tensors):
            raise InputFileError(
                f"{path.name} is a {kind}, which diffusers does not load here.",
                "Look for the same as a plain LoRA, or convert it to one.",
            )
    halves: dict[LayerKey, dict[bool, tuple[int, ...]]] = {}
    strange = []
    for name, (_, shape) in header.tensors.items():
        if name.startswith("lora_") and name.endswith(".alpha"):
            continue
        tensor = parse_tensor_key(name)
        if tensor is None or len(shape) not in (2, 4):
            strange.append(name)
        else:
            halves.setdefault(tensor.layer, {})[tensor.is_down] = shape
    if not halves:
        raise InputFileError(
            f"{path.name} is no LoRA: it holds {_describe_content(path)}.",
            _KIND_HINTS.get(_file_kind(path), _CONVERT_HINT),
        )
    if strange:
        raise InputFileError(
            f"{path.name} has tensors that diffusers would not load: {strange[0]}{_and_more(len(strange))}.",
            _CONVERT_HINT,
        )
    return {layer: _layer_shape(path, layer, both) for layer, both in halves.items()}


def _layer_shape(path: Path, layer: LayerKey, matrix_shapes: Mapping[bool, tuple[int, ...]]) -> LayerShape:
    down, up = matrix_shapes.get(True), matrix_shapes.get(False)
    if down is None or up is None or len(down) != len(up) or down[0] != up[1] or not down[0]:
        raise InputFileError(f"{path.name} is damaged: the two matrices of {layer.name} do not fit.", "Get it again.")
    return LayerShape(down[1], up[0], down[2:], down[0])


def _file_kind(path: Path) -> str:
    return inspect_file(path).kind


def _describe_content(path: Path) -> str:
    words = {"checkpoint": "a whole model", "unet": "a denoiser", "vae": "a VAE"}
    return words.get(_file_kind(path), "no layers that diffusers knows")


_CONVERT_HINT = "A LoRA saved by diffusers or by kohya's sd-scripts will do."
_KIND_HINTS = {"checkpoint": "Pass it with --model."}


def _and_more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def describe_lora(path: Path) -> dict[str, Any]:
    """What is known of a LoRA, flat and fit for JSON; `metadata` is as the file has it.

    Raises:
        RefusedError, InputFileError: as `read`.
    """
    adapter = read_lora(path)
    return {
        "kind": "lora",
        "format": adapter.format,
        "architecture": adapter.architecture,
        "rank": adapter.ranks[0] if len(adapter.ranks) == 1 else list(adapter.ranks),
        "components": list(adapter.components),
        "layers": len(adapter.layers),
        "dtype": adapter.dtype,
        "size": path.stat().st_size,
        "sha256": adapter.sha256,
        "autov3": adapter.autov3,
        "metadata": dict(adapter.metadata),
    }
