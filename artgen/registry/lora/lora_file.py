"""Read a LoRA's format, architecture, ranks and layers from its header, and its hashes.

Low-rank adaptation: Hu et al. 2021, arXiv 2106.09685. Metadata keys: kohya's sd-scripts (`ss_...`) and Stability AI's
ModelSpec (`modelspec....`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError
from artgen.registry import file_hash
from artgen.registry.checkpoint_content import detect_architecture, inspect_file
from artgen.registry.lora.keys import LayerKey, parse_tensor_key
from artgen.registry.safetensors_header import SafetensorsHeader, read_header, reject_pickle
from artgen.system.files import FileIdentity, file_identity

ARCHITECTURE_NAMES = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
}
"""Architecture -> name for users."""

_METADATA_ARCHITECTURES = (
    ("stable-diffusion-xl", "sdxl"), ("sdxl", "sdxl"), ("stable-diffusion-v2", "sd2"), ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"), ("sd_v1", "sd1"), ("stable-diffusion-3", "sd3"), ("sd3", "sd3"), ("flux", "flux"),
)  # fmt: skip
"""Prefix of `modelspec.architecture` or `ss_base_model_version` -> architecture."""

_UNSUPPORTED_MARKERS = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", ".hada_": "LoHa", ".lokr_": "LoKr", ".oft_": "OFT",
    "lora_mid.": "LoCon with a third matrix", ".diff": "full difference", "lora_te3_": "LoRA of a T5 text encoder",
    "text_encoder_3.": "LoRA of a T5 text encoder",
}  # fmt: skip
"""Part of a tensor's name -> kind of adapter that diffusers does not load, or not completely."""
_CONVERT_HINT = "Use a LoRA saved by diffusers or by kohya's sd-scripts."
LORA_COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
"""Components that a LoRA can change in diffusers."""


class LayerShape(NamedTuple):
    """Store the shape of a layer and the rank of its LoRA.

    Attributes:
        inputs: input channels.
        outputs: output channels.
        kernel: height and width of the convolution kernel; empty for a linear layer.
        rank: rank of the LoRA.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    rank: int


@dataclass(frozen=True, eq=False)
class LoraFile:
    """Describe a LoRA on the disk.

    Attributes:
        path: the file.
        identity: identity of the file that was hashed.
        format: diffusers (tensor names of peft and older versions) or kohya (tensor names of sd-scripts).
        architecture: sd1, sd2, sdxl, sd3, flux, or other if shapes and metadata do not determine it.
        layers: all layers that the LoRA changes.
        dtype: dtype of most values, as safetensors names it.
        metadata: free text written by the author.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
        autov3: hash of the tensors' bytes, 12 digits. AUTOMATIC1111 records this hash. Civitai names it AutoV3.
    """

    path: Path
    identity: FileIdentity
    format: str
    architecture: str
    layers: Mapping[LayerKey, LayerShape]
    dtype: str
    metadata: Mapping[str, str]
    sha256: str
    autov3: str

    @property
    def name(self) -> str:
        """Return the file's name without its suffix."""
        return self.path.stem

    @property
    def components(self) -> tuple[str, ...]:
        """Return the changed components of the pipeline, by diffusers' names."""
        changed = {layer.component for layer in self.layers}
        return tuple(component for component in LORA_COMPONENTS if component in changed)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of all layers, without duplicates, ascending."""
        return tuple(sorted({shape.rank for shape in self.layers.values()}))


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA's header and hash the file; results are cached until the file changes.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, damaged, not a LoRA, or an unsupported kind of LoRA.
    """
    reject_pickle(path)
    return _read_cached(path, file_identity(path))


@lru_cache(maxsize=256)
def _read_cached(path: Path, identity: FileIdentity) -> LoraFile:
    header = read_header(path)
    layers = _parse_layers(path, header)
    shapes = {name: shape for name, (_, shape) in header.tensors.items()}
    architecture = detect_architecture(shapes)[0]
    return LoraFile(
        path=path,
        identity=identity,
        format="kohya" if any(name.startswith("lora_") for name in header.tensors) else "diffusers",
        architecture=_architecture_from_metadata(header.metadata) if architecture == "other" else architecture,
        layers=layers,
        dtype=header.dtype,
        metadata=header.metadata,
        sha256=file_hash(path),
        autov3=file_hash(path, tensors_only=True)[:12],
    )


def _architecture_from_metadata(metadata: Mapping[str, str]) -> str:
    """Return the architecture in the metadata; other if it is missing or unknown."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = str(metadata.get(key, "")).lower()
        for prefix, architecture in _METADATA_ARCHITECTURES:
            if text.startswith(prefix):
                return architecture
    return "other"


def _parse_layers(path: Path, header: SafetensorsHeader) -> dict[LayerKey, LayerShape]:
    """Return the layers; reject a file with other tensors than the two matrices of each layer.

    diffusers would ignore the other tensors.
    """
    for marker, kind in _UNSUPPORTED_MARKERS.items():
        if any(marker in name for name in header.tensors):
            raise InputFileError(
                f"Cannot use '{path.name}': it is a {kind}, which diffusers does not load here.",
                "Use the same adapter as a standard LoRA, or convert it.",
            )
    matrices: dict[LayerKey, dict[bool, tuple[int, ...]]] = {}
    unknown = []
    for name, (_, shape) in header.tensors.items():
        if name.startswith("lora_") and name.endswith(".alpha"):
            continue
        tensor = parse_tensor_key(name)
        if tensor is None or len(shape) not in (2, 4):
            unknown.append(name)
        else:
            matrices.setdefault(tensor.layer, {})[tensor.is_down] = shape
    if not matrices:
        kind = inspect_file(path).kind
        content = {"checkpoint": "a complete model", "unet": "a denoiser", "vae": "a VAE"}.get(kind, "unknown layers")
        hint = "Pass it with --model." if kind == "checkpoint" else _CONVERT_HINT
        raise InputFileError(f"'{path.name}' is not a LoRA: it contains {content}.", hint)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputFileError(
            f"Cannot use '{path.name}': it has tensors that diffusers does not load: {unknown[0]}{more}.",
            _CONVERT_HINT,
        )
    return {layer: _layer_shape(path, layer, shapes) for layer, shapes in matrices.items()}


def _layer_shape(path: Path, layer: LayerKey, matrix_shapes: Mapping[bool, tuple[int, ...]]) -> LayerShape:
    down, up = matrix_shapes.get(True), matrix_shapes.get(False)
    if down is None or up is None or len(down) != len(up) or down[0] != up[1] or not down[0]:
        raise InputFileError(
            f"'{path.name}' is damaged: the two matrices of {layer.name} are missing or do not match.",
            "Download it again.",
        )
    return LayerShape(down[1], up[0], down[2:], down[0])


def describe_lora(path: Path) -> dict[str, Any]:
    """Return the properties of a LoRA as a flat JSON object, with the unchanged `metadata` of the file.

    Raises:
        RefusedError, InputFileError: see `read_lora`.
    """
    lora = read_lora(path)
    return {
        "kind": "lora",
        "format": lora.format,
        "architecture": lora.architecture,
        "rank": lora.ranks[0] if len(lora.ranks) == 1 else list(lora.ranks),
        "components": list(lora.components),
        "layers": len(lora.layers),
        "dtype": lora.dtype,
        "size": path.stat().st_size,
        "sha256": lora.sha256,
        "autov3": lora.autov3,
        "metadata": dict(lora.metadata),
    }
