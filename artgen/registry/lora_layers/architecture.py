"""Detect the architecture of an adapter from the names and widths of the layers that it changes."""

import re
from collections.abc import Iterable, Mapping

from artgen.registry.lora_layers.keys import DENOISER, LayerKey, parse_tensor_key
from artgen.registry.lora_layers.shapes import FactorShapes, LayerShape, layer_shape

_NAME_PATTERNS = (
    (r"lora_prior_unet_", ("stable-cascade",)),
    (r"joint_transformer_blocks_", ("auraflow",)),
    (r"(double|single)_stream_blocks_", ("hidream",)),
    (r"(visual|text)_transformer_blocks_", ("kandinsky5",)),
    (r"distilled_guidance_layer", ("chroma",)),
    (r"joint_blocks_|transformer_blocks_\d+_attn2_add_", ("sd3",)),
    (r"to_qkv_mlp_proj|_stream_modulation|ff(_context)?_linear_(in|out)|time_guidance_embed", ("flux2",)),
    (r"transformer_blocks_\d+_(img|txt)_(mlp|mod)_", ("qwen-image",)),
    (r"single_transformer_blocks_\d+_|double_blocks_\d+_|single_blocks_\d+_", ("flux", "chroma", "flux2")),
    (r"(layers|noise_refiner|context_refiner)_\d+_attention_to_|cap_embedder_1|adaLN_modulation_0", ("z-image",)),
    (r"(layers|noise_refiner|context_refiner)_\d+_attn_", ("lumina2",)),
    (r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward|adaLN)", ("z-image", "lumina2")),
    (r"text_fusion_", ("krea2",)),
    (r"layers_\d+_self_attention_", ("ernie-image",)),
    (r"transformer_blocks_\d+_(attn_(add_|to_add_)|ff_context_|norm1_context_)",
     ("flux", "sd3", "qwen-image", "chroma", "flux2")),
    (r"transformer_blocks_\d+_attn_", ("flux", "sd3", "qwen-image", "chroma", "flux2", "krea2")),
    (r"blocks_\d+_(self_attn|cross_attn)_|blocks_\d+_ffn_", ("wan",)),
)  # fmt: skip
"""Part of a layer's name -> architectures with such layers, the most common first. The first pattern decides."""

_WIDTHS = {
    "flux": {3072}, "chroma": {3072}, "qwen-image": {3072}, "flux2": {3072, 4096, 6144}, "sd3": {1536, 2432},
    "z-image": {3840}, "lumina2": {2304},
}  # fmt: skip
"""Widths of the attention layers of the published models."""
_LAST_BLOCKS = {"flux": 18, "chroma": 18, "qwen-image": 59, "sd3": 37, "flux2": 7}
"""Last double-stream block of the published models whose width is 3072, or of Stable Diffusion 3."""
_CONTEXT_WIDTHS = {768: ("sd1",), 1024: ("sd2",), 2048: ("sdxl",)}
"""Width of the prompt embeddings that the UNet receives -> architectures."""


def parse_layers(tensors: Mapping[str, tuple[int, ...]]) -> dict[LayerKey, FactorShapes]:
    """Group the tensors of an adapter by layer; ignore tensors with unknown names."""
    layers: dict[LayerKey, dict[str, tuple[int, ...]]] = {}
    for name, shape in tensors.items():
        if parsed := parse_tensor_key(name):
            layers.setdefault(parsed.layer, {})[parsed.factor] = shape
    return dict(layers)


def is_adapter(tensors: Iterable[str]) -> bool:
    """Return whether a file with these tensors is an adapter, also of an unsupported kind."""
    return any(
        ((parsed := parse_tensor_key(name)) is not None and parsed.factor != "alpha") or adapter_kind(name)
        for name in tensors
    )


_UNSUPPORTED_PATTERNS = (
    (r"\.oft_(diag|blocks|R)\b|\.boft_[RS]\b", "an OFT"),
    (r"\.(a|b)[12]\.weight$", "a GLoRA"),
    (r"\.on_input$|\.ia3_l\b", "an IA3"),
    (r"\.diff(_b)?$|\.[wb]_norm$", "a difference of complete weights"),
    (r"^lora_controlnet$|lora_controlnet", "a Control-LoRA"),
    (r"\.lora_[AB](\.\w+)?\.bias$", "a LoRA with biases"),
    (r"\.vera_lambda_[bd]\b", "a VeRA"),
    (r"\.lora_embedding_[AB]\b", "a LoRA of an embedding"),
)  # fmt: skip


def adapter_kind(tensor: str) -> str:
    """Return the unsupported kind of adapter that has a tensor of this name, with an article; else an empty text."""
    return next((kind for pattern, kind in _UNSUPPORTED_PATTERNS if re.search(pattern, tensor)), "")


def detect_architectures(layers: Mapping[LayerKey, LayerShape]) -> tuple[str, ...]:
    """Return the architectures that an adapter can be for, the most probable first; empty if unknown."""
    denoiser = {key.name: shape for key, shape in layers.items() if key.component == DENOISER}
    names = "\n".join(denoiser)
    candidates = next((found for pattern, found in _NAME_PATTERNS if re.search(pattern, names)), ())
    if candidates:
        return _narrow(candidates, denoiser) or candidates
    for name, shape in denoiser.items():
        if "attn2_to_k" in name:
            return _CONTEXT_WIDTHS.get(shape.inputs, ())
    is_deep = re.search(r"attentions_\d+_transformer_blocks_[2-9]_|blocks?_\d+_1_transformer_blocks_[2-9]_", names)
    if is_deep or any(key.component == "text_encoder_2" for key in layers):
        return ("sdxl",)
    # sd-scripts uses the names of the original code only for SDXL.
    return ("sdxl", "sd1", "sd2") if re.search(r"^(input|output|middle)_blocks?_", names, re.MULTILINE) else ()


def _narrow(candidates: tuple[str, ...], layers: Mapping[str, LayerShape]) -> tuple[str, ...]:
    """Return the candidates whose widths and numbers of blocks fit the layers."""
    for name, shape in layers.items():
        ratio = shape.outputs / shape.inputs if shape.inputs else 0
        if re.fullmatch(r"single_blocks_\d+_linear1", name):
            candidates = ("flux2",) if ratio == 9 else tuple(each for each in candidates if each != "flux2")
        elif re.fullmatch(r"double_blocks_\d+_(img|txt)_mlp_0", name):
            candidates = ("flux2",) if ratio == 6 else tuple(each for each in candidates if each != "flux2")
    widths = {
        shape.inputs for name, shape in layers.items()
        if re.search(r"(attn|attention)_(to_[qkv]|add_[qkv]_proj|qkv)$|_qkv\d?$", name)
    }  # fmt: skip
    blocks = [int(found[1]) for name in layers if (found := re.match(r"(?:double|transformer)_blocks_(\d+)_", name))]
    last = max(blocks, default=0)
    fitting = tuple(
        each for each in candidates if widths <= _WIDTHS.get(each, widths) and last <= _LAST_BLOCKS.get(each, last)
    )
    return fitting if widths and any(widths & known for known in _WIDTHS.values()) else candidates


def architectures_of(tensors: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the architectures that an adapter with these tensors (name -> shape) can be for; see above."""
    shapes = {key: layer_shape(factors) for key, factors in parse_layers(tensors).items()}
    return detect_architectures({key: shape for key, shape in shapes.items() if shape is not None})
