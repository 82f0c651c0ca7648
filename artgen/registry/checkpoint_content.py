"""Detect the kind and the architecture of a weights file from the names and shapes of its tensors.

The characteristic keys are from diffusers' `loaders/single_file_utils.py` and, for LoRAs, from kohya's sd-scripts and
peft.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.registry.denoiser_files import EMA_PREFIX, Denoiser, find_denoiser, plain_names
from artgen.registry.file_kinds import FileKind, find_kind
from artgen.registry.gguf_header import is_gguf, read_gguf_header
from artgen.registry.lora_layers.architecture import architectures_of
from artgen.registry.safetensors_header import SafetensorsHeader, read_header

COMPONENT_PREFIXES = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": (
        "cond_stage_model.", "conditioner.embedders.0.transformer.", "text_encoders.clip_l.",
    ),
    "text_encoder_2": ("conditioner.embedders.1.", "conditioner.embedders.0.model.", "text_encoders.clip_g."),
    "text_encoder_3": ("text_encoders.t5xxl.",),
}  # fmt: skip
"""Component of the pipeline -> prefixes of its tensors in a single file."""

TensorShapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class CheckpointInfo:
    """Describe the content of a single weights file.

    Attributes:
        architecture: sd1, sd2, sdxl, sdxl-refiner, sd3, flux, flux2, ... or other.
        kind: kind of the content: checkpoint (a complete pipeline), unet (only a UNet or transformer), unknown, or a
            kind of `file_kinds`, such as lora, vae or embedding.
        unet_channels: input channels of the denoiser (4; inpainting: 9; SD 3: 16); None if unknown.
        dtype: dtype of most values.
        tensors: number of tensors.
        size: size of the file in bytes.
        layout: names of the tensors: original (all components in one file), diffusers, kohya or peft.
        parts: components of a checkpoint other than the denoiser, by diffusers' names.
        format: format of the file: safetensors or gguf.
        is_ema: whether the only denoiser of the file is the average of its weights (EMA).
    """

    architecture: str
    kind: str
    unet_channels: int | None
    dtype: str
    tensors: int
    size: int
    layout: str = "original"
    parts: tuple[str, ...] = ()
    format: str = "safetensors"
    is_ema: bool = False


@dataclass(frozen=True)
class FileContent:
    """Store what the header of a weights file contains.

    Attributes:
        header: names, dtypes and shapes.
        shapes: shapes by plain name; see `denoiser_files.plain_names`.
        denoiser: denoiser; None if the file has none.
        file_kind: kind of a file that is not an image model; None for a file with a denoiser and for an unknown file.
        parts: components other than the denoiser, by diffusers' names.
        format: safetensors or gguf.
    """

    header: SafetensorsHeader
    shapes: TensorShapes
    denoiser: Denoiser | None
    file_kind: FileKind | None
    parts: tuple[str, ...]
    format: str

    @property
    def is_ema(self) -> bool:
        """Return whether the only denoiser of the file is the average of its weights (EMA)."""
        return self.denoiser is not None and any(
            name not in self.shapes for name in self.header.tensors if name.startswith(EMA_PREFIX)
        )


def read_weights_header(path: Path) -> SafetensorsHeader:
    """Read the header of a safetensors or GGUF file.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, truncated or of another format.
    """
    return read_gguf_header(path) if is_gguf(path) else read_header(path)


def read_content(path: Path) -> FileContent:
    """Detect the content of a weights file from its header. `read_weights_header` lists the errors."""
    header = read_weights_header(path)
    names = plain_names(list(header.tensors))
    shapes = {names[name]: shape for name, (_, shape) in header.tensors.items()}
    kind = find_kind(shapes)
    denoiser = find_denoiser(shapes) if kind is None or kind.kind == "vae" else None
    return FileContent(
        header, shapes, denoiser, None if denoiser else kind, _included_components(shapes),
        "gguf" if is_gguf(path) else "safetensors",
    )  # fmt: skip


def inspect_file(path: Path) -> CheckpointInfo:
    """Detect the content of a `.safetensors` or `.gguf` file from its header.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, truncated or of another format.
    """
    content = read_content(path)
    architecture, kind, channels, layout = _summary(content.shapes, content.denoiser, content.file_kind)
    return CheckpointInfo(
        architecture=architecture,
        kind=kind,
        unet_channels=channels,
        dtype=content.header.dtype,
        tensors=len(content.shapes),
        size=content.header.file_size_bytes,
        layout=layout,
        parts=content.parts,
        format=content.format,
        is_ema=content.is_ema,
    )


def component_of(tensor_name: str) -> str | None:
    """Return the component of a tensor in a single file, by diffusers' names; None for the denoiser."""
    return next(
        (component for component, prefixes in COMPONENT_PREFIXES.items() if tensor_name.startswith(prefixes)), None
    )


def _included_components(shapes: TensorShapes) -> tuple[str, ...]:
    return tuple(component for component, prefixes in COMPONENT_PREFIXES.items() if _has_prefix(shapes, *prefixes))


def _summary(
    shapes: TensorShapes, denoiser: Denoiser | None, kind: FileKind | None
) -> tuple[str, str, int | None, str]:
    """Return (architecture, kind, unet_channels, layout) of a file."""
    if denoiser:
        is_complete = _has_prefix(shapes, *COMPONENT_PREFIXES["vae"])
        return denoiser.architecture, "checkpoint" if is_complete else "unet", denoiser.channels, denoiser.layout
    if kind is None:
        return "other", "unknown", None, "unknown"
    if kind.kind == "lora":
        layout = "kohya" if _has_prefix(shapes, "lora_unet_", "lora_te") else "peft"
        return next(iter(architectures_of(shapes)), "other"), "lora", None, layout
    return "other", kind.kind, None, "original"


def _has_prefix(shapes: TensorShapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)
