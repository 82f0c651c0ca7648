"""Detect the content of a weights file from its header, without unpickling and without loading tensors.

A safetensors file contains an 8-byte little-endian length, JSON of that length (name -> dtype, shape, offsets) and the
tensors' bytes (https://github.com/huggingface/safetensors#format). The header of some kilobytes is enough to detect the
kind and the architecture, and truncated files. The characteristic keys are from diffusers'
`loaders/single_file_utils.py` and, for LoRAs, from kohya's sd-scripts and peft.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, RefusedError
from artgen.system.files import wrap_read_errors

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".bin", ".pth", ".pkl", ".pickle"})
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
DTYPE_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8, "I8": 8, "U8": 8,
    "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
COMPONENT_PREFIXES = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": (
        "cond_stage_model.", "conditioner.embedders.0.transformer.", "text_encoders.clip_l.",
    ),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
    "text_encoder_3": ("text_encoders.t5xxl.",),
}  # fmt: skip
"""Component of the pipeline -> prefixes of its tensors in a single file."""

TensorShapes = Mapping[str, tuple[int, ...]]
DetectedArchitecture = tuple[str, str, int | None, str]


@dataclass(frozen=True)
class SafetensorsHeader:
    """Store a safetensors header.

    Attributes:
        tensors: name -> (dtype, shape).
        metadata: free text written by the author of the file.
        file_size_bytes: size of the complete file.
    """

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]
    file_size_bytes: int

    @property
    def dtype(self) -> str:
        """Return the dtype of most values in the file; `none` if it has no values."""
        counts: dict[str, int] = {}
        for dtype, shape in self.tensors.values():
            counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
        return max(counts, key=lambda name: counts[name]) if counts else "none"

    @property
    def parameter_count(self) -> int:
        """Return the number of values in the file."""
        return sum(math.prod(shape) for _, shape in self.tensors.values())


@dataclass(frozen=True)
class CheckpointInfo:
    """Describe the content of a single safetensors file.

    Attributes:
        architecture: sd1, sd2, sdxl, sd3, flux or other.
        kind: checkpoint (a complete pipeline), unet (only a UNet or transformer), vae, lora or unknown.
        unet_channels: input channels of the denoiser (4; inpainting: 9; SD 3: 16); None if unknown.
        dtype: dtype of most values.
        tensors: number of tensors.
        size: size of the file in bytes.
        layout: original (all components in one file), diffusers, kohya or peft.
        parts: components of a checkpoint other than the denoiser, by diffusers' names.
    """

    architecture: str
    kind: str
    unet_channels: int | None
    dtype: str
    tensors: int
    size: int
    layout: str = "original"
    parts: tuple[str, ...] = ()


def reject_pickle(path: Path) -> None:
    """Reject a pickle by its suffix, without opening the file.

    Raises:
        RefusedError: the suffix is one of `PICKLE_SUFFIXES`.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise RefusedError(
            f"Cannot open '{path.name}': a {path.suffix} file is a Python pickle and can run code when it is read.",
            "Use a .safetensors version of the model, or convert the file on a machine without valuable data: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors').",
        )


def read_header(path: Path) -> SafetensorsHeader:
    """Read and validate a safetensors header: JSON, known dtypes, offsets without gaps, and the file's length.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, truncated or not safetensors; the message contains both lengths.
    """
    reject_pickle(path)
    with wrap_read_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if size == 0:
            raise InputFileError(f"'{path}' is empty.", "Download it again.")
        if not 2 <= length <= MAX_HEADER_BYTES or start[:2] == b"PK":
            raise InputFileError(f"'{path}' is not a safetensors file.", "Pass a .safetensors file or a model folder.")
        raw = file.read(length)
    if len(raw) < length:
        raise InputFileError(f"'{path}' is truncated: its header ends after {size} bytes.", "Download it again.")
    entries = _parse_header(path, raw)
    metadata = entries.pop("__metadata__", {})
    tensors = _check_entries(path, entries, size, 8 + length)
    return SafetensorsHeader(tensors, metadata if isinstance(metadata, dict) else {}, size)


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise InputFileError(
            f"'{path}' is damaged or not a safetensors file: its header is not a JSON object.", "Download it again."
        )
    return entries


def _check_entries(
    path: Path, entries: Mapping[str, Any], size: int, data_start: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (dtype, shape); check that the tensors' bytes fill the file without gaps."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        try:
            dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
            fits = end - begin == math.prod(shape) * DTYPE_BITS[dtype] // 8 and min((0, *shape)) == 0
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise InputFileError(
                f"'{path}' is damaged: the header's entry {name!r} is not valid.", "Download it again."
            )
        tensors[name] = (dtype, shape)
        spans.append((begin, end))
    expected_size = data_start
    for begin, end in sorted(spans):
        if data_start + begin != expected_size:
            raise InputFileError(f"'{path}' is damaged: its tensors overlap or have gaps.", "Download it again.")
        expected_size = data_start + end
    if size != expected_size:
        state = "truncated" if size < expected_size else "damaged"
        raise InputFileError(
            f"'{path}' is {state}: it has {size} bytes instead of {expected_size}.", "Download it again."
        )
    return tensors


def inspect_file(path: Path) -> CheckpointInfo:
    """Detect the content of a `.safetensors` file from its header.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, truncated or not safetensors.
    """
    header = read_header(path)
    shapes = {name: shape for name, (_, shape) in header.tensors.items()}
    architecture, kind, channels, layout = detect_architecture(shapes)
    return CheckpointInfo(
        architecture=architecture,
        kind=kind,
        unet_channels=channels,
        dtype=header.dtype,
        tensors=len(shapes),
        size=header.file_size_bytes,
        layout=layout,
        parts=_included_components(shapes),
    )


def component_of(tensor_name: str) -> str | None:
    """Return the component of a tensor in a single file, by diffusers' names; None for the denoiser."""
    return next(
        (component for component, prefixes in COMPONENT_PREFIXES.items() if tensor_name.startswith(prefixes)), None
    )


def _included_components(shapes: TensorShapes) -> tuple[str, ...]:
    return tuple(component for component, prefixes in COMPONENT_PREFIXES.items() if _has_prefix(shapes, *prefixes))


def detect_architecture(shapes: TensorShapes) -> DetectedArchitecture:
    """Return (architecture, kind, unet_channels, layout) of a state dict, given as name -> shape."""
    if _is_lora(shapes):
        layout = "kohya" if _has_prefix(shapes, "lora_unet_", "lora_te") else "peft"
        return _lora_architecture(shapes), "lora", None, layout
    return _detect_ldm(shapes) or _detect_diffusers(shapes) or ("other", "unknown", None, "unknown")


def _has_prefix(shapes: TensorShapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)


def _detect_ldm(shapes: TensorShapes) -> DetectedArchitecture | None:
    """Detect checkpoints in the layout of the CompVis and Stability AI repositories."""
    unet = "model.diffusion_model."
    conv_in = shapes.get(f"{unet}input_blocks.0.0.weight", shapes.get("input_blocks.0.0.weight", ()))
    if conv_in:
        kind = "checkpoint" if _has_prefix(shapes, "first_stage_model.") else "unet"
        context = f"{unet}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
        if _has_prefix(shapes, "conditioner.embedders.1.") or f"{unet}label_emb.0.0.weight" in shapes:
            is_refiner = not _has_prefix(shapes, "conditioner.embedders.1.") and _has_prefix(
                shapes, "conditioner.embedders.0.model."
            )
            architecture = "other" if is_refiner else "sdxl"
        elif shapes.get(context, (0, 768))[-1] == 1024 or _has_prefix(shapes, "cond_stage_model.model."):
            architecture = "sd2"
        else:
            architecture = "sd1" if shapes.get(context, (0, 768))[-1] == 768 else "other"
        return architecture, kind, conv_in[1], "original"
    for prefix in (unet, ""):
        if f"{prefix}joint_blocks.0.context_block.adaLN_modulation.1.bias" in shapes:
            patches = shapes.get(f"{prefix}x_embedder.proj.weight", (0, 16))
            kind = "checkpoint" if _has_prefix(shapes, "first_stage_model.") else "unet"
            return "sd3", kind, patches[1], "original"
        if f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale" in shapes:
            return "flux", "checkpoint" if _has_prefix(shapes, "vae.") else "unet", None, "original"
    if "first_stage_model.encoder.conv_in.weight" in shapes or "encoder.down.0.block.0.conv1.weight" in shapes:
        return "other", "vae", None, "original"
    return None


def _detect_diffusers(shapes: TensorShapes) -> DetectedArchitecture | None:
    """Detect one component in diffusers' layout: a UNet, a transformer or a VAE."""
    if (
        "conv_in.weight" in shapes
        and _has_prefix(shapes, "down_blocks.")
        and "time_embedding.linear_1.weight" in shapes
    ):
        context = next((s[-1] for n, s in shapes.items() if n.endswith("attn2.to_k.weight")), 0)
        by_context = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
        architecture = "sdxl" if "add_embedding.linear_1.weight" in shapes else by_context.get(context, "other")
        return architecture, "unet", shapes["conv_in.weight"][1], "diffusers"
    if "pos_embed.proj.weight" in shapes and _has_prefix(shapes, "transformer_blocks.0.attn.add_q_proj."):
        return "sd3", "unet", shapes["pos_embed.proj.weight"][1], "diffusers"
    if _has_prefix(shapes, "single_transformer_blocks.0."):
        return "flux", "unet", None, "diffusers"
    if "encoder.conv_in.weight" in shapes and "decoder.conv_in.weight" in shapes:
        return "other", "vae", None, "diffusers"
    return None


def _is_lora(shapes: TensorShapes) -> bool:
    marks = (".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".lora_B.weight", ".lora.down.weight",
             ".lora.up.weight", ".hada_w1_a", ".lokr_w1", ".lora_A.default.weight")  # fmt: skip
    return any(name.endswith(marks) for name in shapes)


def _lora_architecture(shapes: TensorShapes) -> str:
    """Detect the architecture of a LoRA: by block names, a second text encoder, then the cross-attention width."""
    is_flux = any("single_transformer_blocks" in name for name in shapes)
    if not is_flux and any("joint_blocks" in name or "attn.add_q_proj" in name for name in shapes):
        return "sd3"
    if is_flux or any("double_blocks" in name for name in shapes):
        return "flux"
    if _has_prefix(shapes, "transformer."):
        return "other"
    if _has_prefix(shapes, "lora_te1_", "lora_te2_", "text_encoder_2."):
        return "sdxl"
    downs = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight", ".lora_A.default.weight")
    for name, shape in shapes.items():
        if name.endswith(downs) and ("attn2_to_k" in name or "attn2.to_k" in name or "attn2.processor.to_k" in name):
            return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(shape[1], "other")
    return "other"
