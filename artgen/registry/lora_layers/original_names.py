"""Convert the layer names of the original code of Flux, Flux.2, Stable Diffusion 3, Z-Image and Lumina 2 to diffusers'.

One layer of the original code can be several layers of diffusers: the rows of its weight are the rows of these
layers, in order. The facts are from diffusers' `loaders/single_file_utils.py` and
`loaders/lora_conversion_utils.py`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from artgen.registry.lora_layers.keys import from_ldm_key

LayerShapes = Mapping[str, tuple[int, ...]]
"""Shapes of the weights of a component, by layer name with underscores."""


class Target(NamedTuple):
    """Identify a layer of diffusers, and the rows of the adapter's weight that change it.

    Attributes:
        name: diffusers' name with underscores.
        rows: first row and row after the last.
        swapped: whether the second half of the rows comes first (diffusers swaps shift and scale).
    """

    name: str
    rows: tuple[int, int]
    swapped: bool = False


def _qkv(block: str, names: str = "to_q to_k to_v") -> tuple[str, ...]:
    return tuple(f"{block}_{name}" for name in names.split())


_IMAGE_QKV = _qkv(r"transformer_blocks_\1_attn")
_TEXT_QKV = _qkv(r"transformer_blocks_\1_attn", "add_q_proj add_k_proj add_v_proj")
_SINGLE_QKV = _qkv(r"single_transformer_blocks_\1_attn")
_RULES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    # Flux and Flux.2 (Black Forest Labs); the suffixes 1 and 2 without `img` or `txt` are XLabs' names.
    (r"double_blocks_(\d+)_(?:img_attn_qkv|qkv1)", (_IMAGE_QKV,)),
    (r"double_blocks_(\d+)_(?:txt_attn_qkv|qkv2)", (_TEXT_QKV,)),
    (r"double_blocks_(\d+)_(?:img_attn_proj|proj1)", ((r"transformer_blocks_\1_attn_to_out_0",),)),
    (r"double_blocks_(\d+)_(?:txt_attn_proj|proj2)", ((r"transformer_blocks_\1_attn_to_add_out",),)),
    (r"double_blocks_(\d+)_img_mlp_0",
     ((r"transformer_blocks_\1_ff_net_0_proj",), (r"transformer_blocks_\1_ff_linear_in",))),
    (r"double_blocks_(\d+)_img_mlp_2",
     ((r"transformer_blocks_\1_ff_net_2",), (r"transformer_blocks_\1_ff_linear_out",))),
    (r"double_blocks_(\d+)_txt_mlp_0",
     ((r"transformer_blocks_\1_ff_context_net_0_proj",), (r"transformer_blocks_\1_ff_context_linear_in",))),
    (r"double_blocks_(\d+)_txt_mlp_2",
     ((r"transformer_blocks_\1_ff_context_net_2",), (r"transformer_blocks_\1_ff_context_linear_out",))),
    (r"double_blocks_(\d+)_img_mod_lin", ((r"transformer_blocks_\1_norm1_linear",),)),
    (r"double_blocks_(\d+)_txt_mod_lin", ((r"transformer_blocks_\1_norm1_context_linear",),)),
    (r"single_blocks_(\d+)_linear1",
     ((*_SINGLE_QKV, r"single_transformer_blocks_\1_proj_mlp"),
      (r"single_transformer_blocks_\1_attn_to_qkv_mlp_proj",))),
    (r"single_blocks_(\d+)_(?:linear2|proj)",
     ((r"single_transformer_blocks_\1_proj_out",), (r"single_transformer_blocks_\1_attn_to_out",))),
    (r"single_blocks_(\d+)_qkv", (_SINGLE_QKV,)),
    (r"single_blocks_(\d+)_modulation_lin", ((r"single_transformer_blocks_\1_norm_linear",),)),
    (r"img_in", (("x_embedder",),)),
    (r"txt_in", (("context_embedder",),)),
    (r"time_in_in_layer", (("time_text_embed_timestep_embedder_linear_1",),
                           ("time_guidance_embed_timestep_embedder_linear_1",))),
    (r"time_in_out_layer", (("time_text_embed_timestep_embedder_linear_2",),
                            ("time_guidance_embed_timestep_embedder_linear_2",))),
    (r"vector_in_in_layer", (("time_text_embed_text_embedder_linear_1",),)),
    (r"vector_in_out_layer", (("time_text_embed_text_embedder_linear_2",),)),
    (r"guidance_in_in_layer", (("time_text_embed_guidance_embedder_linear_1",),
                               ("time_guidance_embed_guidance_embedder_linear_1",))),
    (r"guidance_in_out_layer", (("time_text_embed_guidance_embedder_linear_2",),
                                ("time_guidance_embed_guidance_embedder_linear_2",))),
    (r"((?:single|double)_stream_modulation(?:_img|_txt)?)_lin", ((r"\1_linear",),)),
    # Stable Diffusion 3 (Stability AI)
    (r"joint_blocks_(\d+)_x_block_attn_qkv", (_IMAGE_QKV,)),
    (r"joint_blocks_(\d+)_x_block_attn2_qkv", (_qkv(r"transformer_blocks_\1_attn2"),)),
    (r"joint_blocks_(\d+)_context_block_attn_qkv", (_TEXT_QKV,)),
    (r"joint_blocks_(\d+)_x_block_attn_proj", ((r"transformer_blocks_\1_attn_to_out_0",),)),
    (r"joint_blocks_(\d+)_x_block_attn2_proj", ((r"transformer_blocks_\1_attn2_to_out_0",),)),
    (r"joint_blocks_(\d+)_context_block_attn_proj", ((r"transformer_blocks_\1_attn_to_add_out",),)),
    (r"joint_blocks_(\d+)_x_block_mlp_fc1", ((r"transformer_blocks_\1_ff_net_0_proj",),)),
    (r"joint_blocks_(\d+)_x_block_mlp_fc2", ((r"transformer_blocks_\1_ff_net_2",),)),
    (r"joint_blocks_(\d+)_context_block_mlp_fc1", ((r"transformer_blocks_\1_ff_context_net_0_proj",),)),
    (r"joint_blocks_(\d+)_context_block_mlp_fc2", ((r"transformer_blocks_\1_ff_context_net_2",),)),
    (r"joint_blocks_(\d+)_x_block_adaLN_modulation_1", ((r"transformer_blocks_\1_norm1_linear",),)),
    (r"joint_blocks_(\d+)_context_block_adaLN_modulation_1", ((r"transformer_blocks_\1_norm1_context_linear",),)),
    (r"x_embedder_proj", (("pos_embed_proj",),)),
    (r"t_embedder_mlp_0", (("time_text_embed_timestep_embedder_linear_1",),)),
    (r"t_embedder_mlp_2", (("time_text_embed_timestep_embedder_linear_2",),)),
    (r"y_embedder_mlp_0", (("time_text_embed_text_embedder_linear_1",),)),
    (r"y_embedder_mlp_2", (("time_text_embed_text_embedder_linear_2",),)),
    # Z-Image and Lumina 2 (Alpha-VLLM)
    (r"((?:layers|noise_refiner|context_refiner)_\d+)_attention_qkv", (_qkv(r"\1_attention"), _qkv(r"\1_attn"))),
    (r"((?:layers|noise_refiner|context_refiner)_\d+)_attention_out",
     ((r"\1_attention_to_out_0",), (r"\1_attn_to_out_0",))),
    (r"((?:layers|noise_refiner|context_refiner)_\d+)_feed_forward_w([123])", ((r"\1_feed_forward_linear_\2",),)),
    (r"((?:layers|noise_refiner)_\d+)_adaLN_modulation_1", ((r"\1_norm1_linear",),)),
    (r"x_embedder", (("all_x_embedder_2-1",),)),
    (r"cap_embedder_1", (("time_caption_embed_caption_embedder_1",),)),
    # Several families
    (r"final_layer_linear", (("proj_out",), ("all_final_layer_2-1_linear",), ("norm_out_linear_2",))),
    (r"final_layer_adaLN_modulation_1",
     (("norm_out_linear",), ("all_final_layer_2-1_adaLN_modulation_1",), ("norm_out_linear_1",))),
)  # fmt: skip
"""Original name -> alternatives of diffusers' layers; the model has the layers of one alternative."""


def find_targets(name: str, outputs: int, layers: LayerShapes, layers_per_block: int = 2) -> tuple[Target, ...] | None:
    """Return the layers of a model that an adapter layer changes; None if the model has no such layers.

    The rows of the targets follow from the model. They can be more or fewer than `outputs`.

    Args:
        name: layer name of the adapter, with underscores.
        outputs: rows of the adapter's weight.
        layers: layers of the model's component.
        layers_per_block: residual layers of each block of a UNet.
    """
    name = from_ldm_key(name, layers_per_block)
    if name in layers:
        return (Target(name, (0, outputs)),)
    for pattern, alternatives in _RULES:
        if found := re.fullmatch(pattern, name):
            for names in (tuple(map(found.expand, alternative)) for alternative in alternatives):
                if all(each in layers for each in names):
                    return _split_rows(names, outputs, layers)
    return None


def _split_rows(names: tuple[str, ...], outputs: int, layers: LayerShapes) -> tuple[Target, ...]:
    if len(names) == 1:
        rows, columns = layers[names[0]][:2]
        is_swapped = names[0].endswith(("norm_out_linear", "norm1_context_linear")) and rows == 2 * columns
        return (Target(names[0], (0, outputs), is_swapped),)
    sizes = [layers[each][0] for each in names]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return tuple(Target(each, (start, start + size)) for each, start, size in zip(names, starts, sizes, strict=True))
