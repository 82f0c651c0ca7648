"""Detect weights files that are not image models, and name the option that takes them.

The characteristic tensor names are from the loaders of diffusers 0.42, A1111, ComfyUI and kohya's sd-scripts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from artgen.registry.lora_layers.architecture import is_adapter

TensorShapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class FileKind:
    """Describe a kind of weights file that is not an image model.

    Attributes:
        kind: name of the kind in `CheckpointInfo`.
        description: noun phrase for messages, with its article.
        setting: name of the setting that takes such a file; empty if artgen has none.
        patterns: regular expressions; each one must match the name of a tensor.
    """

    kind: str
    description: str
    patterns: tuple[str, ...]
    setting: str = ""


_UPSCALER = r"^(?:params_ema\.|params\.)?"

LORA = FileKind("lora", "a LoRA", (), "lora")
FILE_KINDS = (
    FileKind(
        "control_lora",
        "a Control-LoRA",
        (r"^lora_controlnet$|^input_blocks\.\d+\.\d\.\S+\.(?:down|up)$",),
        "controlnet",
    ),
    FileKind("controlnet", "a ControlNet-LLLite", (r"^lllite_",), "controlnet"),
    FileKind(
        "ip_adapter",
        "an IP-Adapter",
        (
            r"^(?:image_proj|ip_adapter_image_proj|proj_in|image_proj_model)\b",
            r"^ip_adapter\.|to_k_ip|ip_adapter_",
        ),
        "ip_adapter",
    ),
    LORA,
    FileKind("ip_adapter", "a Flux Redux image adapter", (r"^redux_up\.weight$",), "ip_adapter"),
    FileKind(
        "controlnet",
        "a ControlNet",
        (
            r"^control_model\.|^controlnet_|^input_hint_block\.|^control_(?:layers|all_x_embedder|noise_refiner)\b"
            r"|^controlnet\.|^pos_embed_input\.",
        ),
        "controlnet",
    ),
    FileKind(
        "t2i_adapter", "a T2I-Adapter", (r"^(?:adapter\.)?body\.\d+\.(?:in_conv|resnets|block1)\b",), "controlnet"
    ),
    FileKind("motion_module", "an AnimateDiff motion module", (r"motion_modules?\.|temporal_transformer\.",)),
    FileKind(
        "embedding",
        "a textual-inversion embedding",
        (r"^(?:emb_params|clip_[lg]|t5xxl|string_to_param\b.*|<[^>]+>|\*)$",),
        "embedding",
    ),
    FileKind(
        "upscaler",
        "an upscaler (ESRGAN family)",
        (_UPSCALER + r"(?:RRDB_trunk\.|body\.\d+\.rdb\d\.|model\.1\.sub\.\d+\.|trunk_conv)",),
        "upscaler",
    ),
    FileKind(
        "upscaler",
        "an upscaler (SwinIR, HAT or DAT family)",
        (_UPSCALER + r"conv_first\.weight$", _UPSCALER + r"layers\.0\."),
        "upscaler",
    ),
    FileKind(
        "upscaler",
        "an upscaler (compact Real-ESRGAN)",
        (_UPSCALER + r"body\.0\.weight$", _UPSCALER + r"body\.1\.weight$", _UPSCALER + r"body\.\d+\.bias$"),
        "upscaler",
    ),
    FileKind("hypernetwork", "a hypernetwork", (r"^(?:320|640|768|1024|1280)(?:\.[01])?\.linear",)),
    FileKind("text_encoder", "a T5 text encoder", (r"^encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight$",)),
    FileKind("text_encoder", "a T5 text encoder", (r"^enc\.blk\.0\.attn_q\.weight$",)),
    FileKind(
        "image_encoder",
        "an image encoder",
        (r"^(?:vision_model\.|visual\.|blip\.)", r"(?:embeddings|conv1|patch_embed|class_embedding)"),
    ),
    FileKind(
        "text_encoder",
        "a CLIP text encoder",
        (
            r"^(?:text_model\.)?(?:encoder\.layers\.0\.self_attn|transformer\.resblocks\.0\.attn|"
            r"transformer\.text_model)",
        ),
    ),
    FileKind(
        "text_encoder",
        "a language model, such as the text encoder of Flux.2 or Qwen-Image",
        (r"^(?:model\.|language_model\.)+(?:layers\.0\.self_attn|embed_tokens)|^blk\.0\.attn_q\.weight$",),
    ),
    FileKind(
        "video",
        "a video model",
        (
            r"time_stack\.|time_mixer\.|^(?:model\.diffusion_model\.)?(?:head\.modulation$|patchify_proj\.weight$|"
            r"txt_in\.individual_token_refiner|blocks\.0\.attn\.qkv_x|vace_blocks|temporal_embed)"
            r"|^net\.(?:x_embedder\.proj\.1|extra_pos_embedder)|^scale_shift_table_audio",
        ),
    ),
    FileKind(
        "other_model",
        "a part of Stable Cascade",
        (
            r"^(?:model\.diffusion_model\.)?"
            r"(?:clip_txt_mapper\.weight|down_blocks\.\d+\.\d+\.channelwise\.0\.weight)$",
        ),
    ),
    FileKind(
        "vae",
        "a VAE",
        (r"^(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\.(?:conv_in|mid|up|up_blocks|stages)\b",),
        "vae",
    ),
    FileKind(
        "vae",
        "a VAE of the TAESD family",
        (r"^(?:taesd_)?(?:encoder|decoder)\.(?:layers\.)?\d+\.(?:conv\.\d\.)?weight$",),
        "vae",
    ),
    FileKind("vae", "a VAE of a video model", (r"^decoder\.(?:middle\.0\.residual|mid_block\.resnets)",), "vae"),
)
"""In the order of detection: the first kind whose patterns all match is used."""

UNSUPPORTED_WEIGHTS = {
    "quantized by bitsandbytes": r"\.(?:absmax|quant_map|quant_state\.bitsandbytes__\w+|SCB)$",
    "quantized for Nunchaku (SVDQuant)": r"\.(?:wscales|smooth_factor|proj_down)$",
    "scaled fp8 weights": r"(?:^|\.)(?:scaled_fp8|scale_weight|scale_input|weight_scale|input_scale)$",
    "quantized for ComfyUI": r"\.comfy_quant$",
    "quantized by GPTQ or AWQ": r"\.(?:qweight|qzeros)$",
}
"""Weights that diffusers would load with wrong values -> pattern of a tensor's name."""


def find_kind(shapes: TensorShapes) -> FileKind | None:
    """Return the kind of a file that is not an image model; None if no kind matches."""
    names = "\n".join(shapes)
    for kind in FILE_KINDS:
        if kind is LORA and is_adapter(shapes):
            return kind
        if kind is not LORA and all(re.search(pattern, names, re.MULTILINE) for pattern in kind.patterns):
            return kind
    # diffusers stores an embedding as one tensor with the name of its token, shape (tokens, width of the encoder).
    widths = {768, 1024, 1280}
    if len(shapes) == 1 and (shape := next(iter(shapes.values()))) and len(shape) <= 2 and shape[-1] in widths:
        return next(kind for kind in FILE_KINDS if kind.kind == "embedding")
    return None


def unsupported_weights(shapes: TensorShapes) -> str:
    """Return how the weights of a file are stored if diffusers would load wrong values; else an empty string."""
    names = "\n".join(shapes)
    return next((text for text, pattern in UNSUPPORTED_WEIGHTS.items() if re.search(pattern, names, re.MULTILINE)), "")
