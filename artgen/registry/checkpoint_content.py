"""Detect the kind and the architecture of a weights file from the names and shapes of its tensors.

The characteristic keys are from diffusers' `loaders/single_file_utils.py` and, for LoRAs, from kohya's sd-scripts and
peft.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.registry.lora_layers.architecture import architectures_of, is_adapter
from artgen.registry.safetensors_header import read_header

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
    if is_adapter(shapes):
        layout = "kohya" if _has_prefix(shapes, "lora_unet_", "lora_te") else "peft"
        return next(iter(architectures_of(shapes)), "other"), "lora", None, layout
    return _detect_ldm(shapes) or _detect_diffusers(shapes) or ("other", "unknown", None, "unknown")


def _has_prefix(shapes: TensorShapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)


def _last(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 0


def _detect_ldm(shapes: TensorShapes) -> DetectedArchitecture | None:
    """Detect checkpoints in the layout of the CompVis and Stability AI repositories."""
    unet = "model.diffusion_model."
    conv_in = shapes.get(f"{unet}input_blocks.0.0.weight", shapes.get("input_blocks.0.0.weight", ()))
    if len(conv_in) == 4:
        kind = "checkpoint" if _has_prefix(shapes, "first_stage_model.") else "unet"
        context = f"{unet}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
        if _has_prefix(shapes, "conditioner.embedders.1.") or f"{unet}label_emb.0.0.weight" in shapes:
            is_refiner = not _has_prefix(shapes, "conditioner.embedders.1.") and _has_prefix(
                shapes, "conditioner.embedders.0.model."
            )
            architecture = "other" if is_refiner else "sdxl"
        elif _last(shapes.get(context, (768,))) == 1024 or _has_prefix(shapes, "cond_stage_model.model."):
            architecture = "sd2"
        else:
            architecture = "sd1" if _last(shapes.get(context, (768,))) == 768 else "other"
        return architecture, kind, conv_in[1], "original"
    for prefix in (unet, ""):
        if f"{prefix}joint_blocks.0.context_block.adaLN_modulation.1.bias" in shapes:
            patches = shapes.get(f"{prefix}x_embedder.proj.weight", (0, 16, 0, 0))
            kind = "checkpoint" if _has_prefix(shapes, "first_stage_model.") else "unet"
            return "sd3", kind, patches[1] if len(patches) == 4 else None, "original"
        if f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale" in shapes:
            return "flux", "checkpoint" if _has_prefix(shapes, "vae.") else "unet", None, "original"
    if "first_stage_model.encoder.conv_in.weight" in shapes or "encoder.down.0.block.0.conv1.weight" in shapes:
        return "other", "vae", None, "original"
    return None


def _detect_diffusers(shapes: TensorShapes) -> DetectedArchitecture | None:
    """Detect one component in diffusers' layout: a UNet, a transformer or a VAE."""
    if (
        len(shapes.get("conv_in.weight", ())) == 4
        and _has_prefix(shapes, "down_blocks.")
        and "time_embedding.linear_1.weight" in shapes
    ):
        context = next((_last(s) for n, s in shapes.items() if n.endswith("attn2.to_k.weight")), 0)
        by_context = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
        architecture = "sdxl" if "add_embedding.linear_1.weight" in shapes else by_context.get(context, "other")
        return architecture, "unet", shapes["conv_in.weight"][1], "diffusers"
    if len(shapes.get("pos_embed.proj.weight", ())) == 4 and _has_prefix(
        shapes, "transformer_blocks.0.attn.add_q_proj."
    ):
        return "sd3", "unet", shapes["pos_embed.proj.weight"][1], "diffusers"
    if _has_prefix(shapes, "single_transformer_blocks.0."):
        return "flux", "unet", None, "diffusers"
    if "encoder.conv_in.weight" in shapes and "decoder.conv_in.weight" in shapes:
        return "other", "vae", None, "diffusers"
    return None
