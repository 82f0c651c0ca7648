"""List layers of tiny transformers by the names of several formats, with diffusers' names.

The facts are from the original code of the models, sd-scripts and XLabs' trainer.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Describe a layer of an adapter file.

    Attributes:
        name: name in the file, without the prefix of the format.
        modules: diffusers' modules; the rows of their weights are the rows of the adapter.
        swapped: whether the halves of the rows are swapped in diffusers.
        component: folder of the component.
    """

    name: str
    modules: tuple[str, ...]
    swapped: bool = False
    component: str = "transformer"


def same(*names: str, component: str = "transformer") -> tuple[Layer, ...]:
    """Return layers with the names of diffusers."""
    return tuple(Layer(name, (name,), component=component) for name in names)


def _attention(block: str, names: str) -> tuple[str, ...]:
    return tuple(f"{block}.{name}" for name in names.split())


_DOUBLE = "transformer_blocks.0.attn"
_SINGLE = "single_transformer_blocks.0"
_QKV, _ADDED = "to_q to_k to_v", "add_q_proj add_k_proj add_v_proj"
FLUX_DOUBLE_ORIGINAL = (
    Layer("double_blocks.0.img_attn.qkv", _attention(_DOUBLE, _QKV)),
    Layer("double_blocks.0.txt_attn.qkv", _attention(_DOUBLE, _ADDED)),
    Layer("double_blocks.0.img_attn.proj", ("transformer_blocks.0.attn.to_out.0",)),
    Layer("double_blocks.0.txt_attn.proj", ("transformer_blocks.0.attn.to_add_out",)),
)
_FLUX_MLP = (
    Layer("double_blocks.0.img_mlp.0", ("transformer_blocks.0.ff.net.0.proj",)),
    Layer("double_blocks.0.img_mlp.2", ("transformer_blocks.0.ff.net.2",)),
    Layer("double_blocks.0.txt_mlp.0", ("transformer_blocks.0.ff_context.net.0.proj",)),
    Layer("single_blocks.0.linear1", (*_attention(f"{_SINGLE}.attn", _QKV), f"{_SINGLE}.proj_mlp")),
    Layer("single_blocks.0.linear2", (f"{_SINGLE}.proj_out",)),
)
FLUX_ORIGINAL = (
    *FLUX_DOUBLE_ORIGINAL,
    *_FLUX_MLP,
    Layer("double_blocks.0.img_mod.lin", ("transformer_blocks.0.norm1.linear",)),
    Layer("double_blocks.0.txt_mod.lin", ("transformer_blocks.0.norm1_context.linear",)),
    Layer("single_blocks.0.modulation.lin", (f"{_SINGLE}.norm.linear",)),
    Layer("img_in", ("x_embedder",)),
    Layer("txt_in", ("context_embedder",)),
    Layer("time_in.in_layer", ("time_text_embed.timestep_embedder.linear_1",)),
    Layer("vector_in.out_layer", ("time_text_embed.text_embedder.linear_2",)),
    Layer("guidance_in.in_layer", ("time_text_embed.guidance_embedder.linear_1",)),
    Layer("final_layer.linear", ("proj_out",)),
    Layer("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
CHROMA_ORIGINAL = (*FLUX_DOUBLE_ORIGINAL, *_FLUX_MLP)
FLUX2_ORIGINAL = (
    *FLUX_DOUBLE_ORIGINAL,
    Layer("double_blocks.0.img_mlp.0", ("transformer_blocks.0.ff.linear_in",)),
    Layer("double_blocks.0.txt_mlp.2", ("transformer_blocks.0.ff_context.linear_out",)),
    Layer("single_blocks.0.linear1", (f"{_SINGLE}.attn.to_qkv_mlp_proj",)),
    Layer("single_blocks.0.linear2", (f"{_SINGLE}.attn.to_out",)),
    Layer("time_in.in_layer", ("time_guidance_embed.timestep_embedder.linear_1",)),
    Layer("double_stream_modulation_img.lin", ("double_stream_modulation_img.linear",)),
    Layer("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
XLABS = (
    Layer("double_blocks.0.processor.qkv_lora1", _attention(_DOUBLE, _QKV)),
    Layer("double_blocks.0.processor.qkv_lora2", _attention(_DOUBLE, _ADDED)),
    Layer("double_blocks.0.processor.proj_lora1", ("transformer_blocks.0.attn.to_out.0",)),
    Layer("double_blocks.0.processor.proj_lora2", ("transformer_blocks.0.attn.to_add_out",)),
    Layer("single_blocks.0.processor.qkv_lora", _attention(f"{_SINGLE}.attn", _QKV)),
    Layer("single_blocks.0.processor.proj_lora", (f"{_SINGLE}.proj_out",)),
)
SD3_ORIGINAL = (
    Layer("joint_blocks.0.x_block.attn.qkv", _attention(_DOUBLE, _QKV)),
    Layer("joint_blocks.0.context_block.attn.qkv", _attention(_DOUBLE, _ADDED)),
    Layer("joint_blocks.0.x_block.attn.proj", ("transformer_blocks.0.attn.to_out.0",)),
    Layer("joint_blocks.0.x_block.mlp.fc1", ("transformer_blocks.0.ff.net.0.proj",)),
    Layer("joint_blocks.0.x_block.mlp.fc2", ("transformer_blocks.0.ff.net.2",)),
    Layer("joint_blocks.0.x_block.adaLN_modulation.1", ("transformer_blocks.0.norm1.linear",)),
    # The context of the last block only has a scale and a shift.
    Layer(
        "joint_blocks.0.context_block.adaLN_modulation.1", ("transformer_blocks.0.norm1_context.linear",), swapped=True
    ),
    Layer("x_embedder.proj", ("pos_embed.proj",)),
    Layer("t_embedder.mlp.0", ("time_text_embed.timestep_embedder.linear_1",)),
    Layer("y_embedder.mlp.2", ("time_text_embed.text_embedder.linear_2",)),
    Layer("final_layer.linear", ("proj_out",)),
    Layer("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
_ATTENTION = "layers.0.attention"
Z_IMAGE_ORIGINAL = (
    Layer("layers.0.attention.qkv", _attention("layers.0.attention", _QKV)),
    Layer("layers.1.attention.out", ("layers.1.attention.to_out.0",)),
    Layer("noise_refiner.0.attention.qkv", _attention("noise_refiner.0.attention", _QKV)),
    Layer("context_refiner.0.attention.out", ("context_refiner.0.attention.to_out.0",)),
    *same("layers.0.feed_forward.w1", "layers.1.feed_forward.w2", "layers.0.adaLN_modulation.0", "cap_embedder.1"),
    Layer("x_embedder", ("all_x_embedder.2-1",)),
    Layer("final_layer.linear", ("all_final_layer.2-1.linear",)),
    Layer("final_layer.adaLN_modulation.1", ("all_final_layer.2-1.adaLN_modulation.1",)),
)
LUMINA2_ORIGINAL = (
    Layer("layers.0.attention.qkv", _attention("layers.0.attn", _QKV)),
    Layer("layers.1.attention.out", ("layers.1.attn.to_out.0",)),
    Layer("noise_refiner.0.feed_forward.w2", ("noise_refiner.0.feed_forward.linear_2",)),
    Layer("layers.0.adaLN_modulation.1", ("layers.0.norm1.linear",)),
)
DOUBLE_BLOCK = same(*_attention(_DOUBLE, f"{_QKV} {_ADDED} to_out.0"), "transformer_blocks.0.ff.net.0.proj")
QWEN = same(
    *_attention(_DOUBLE, f"{_QKV} {_ADDED} to_out.0 to_add_out"), "transformer_blocks.1.img_mlp.net.0.proj",
    "transformer_blocks.1.txt_mlp.net.2", "transformer_blocks.0.img_mod.1", "img_in", "norm_out.linear", "proj_out",
    "time_text_embed.timestep_embedder.linear_1",
)  # fmt: skip
Z_IMAGE = same(
    "layers.0.attention.to_q", "layers.1.attention.to_out.0", "layers.0.feed_forward.w1", "layers.1.adaLN_modulation.0",
    "noise_refiner.0.attention.to_k", "context_refiner.0.feed_forward.w3", "t_embedder.mlp.0", "all_x_embedder.2-1",
)  # fmt: skip
