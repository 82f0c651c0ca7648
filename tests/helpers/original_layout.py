"""Convert Stable Diffusion 1 weights of diffusers to the original checkpoint format: single files for tests.

Inverse of `convert_ldm_unet_checkpoint`, `convert_ldm_vae_checkpoint` and `convert_ldm_clip_checkpoint` in
`loaders/single_file_utils.py` of diffusers. Only names change, except for the VAE's attention, which the original
stores as 1x1 convolutions. Supports any number of levels, and therefore tiny models.
"""

import re
from collections.abc import Mapping
from typing import Any

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def to_original_sd1(unet: Mapping[str, Any], vae: Mapping[str, Any], text_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the state dicts of three components to the layout of `v1-5-pruned-emaonly.safetensors`."""
    state = {f"model.diffusion_model.{unet_name(key, unet)}": value for key, value in unet.items()}
    state |= to_original_vae(vae, "first_stage_model.")
    for key, value in text_encoder.items():
        if not key.endswith("position_ids"):
            state[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    return {key: value.contiguous() for key, value in state.items()}


def to_original_controlnet(net: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the state dict of a ControlNet to the layout of `control_v11p_sd15_canny.pth`."""
    state = {}
    for key, value in net.items():
        part, _, rest = key.partition(".")
        if part == "controlnet_cond_embedding":
            layer, _, kind = rest.rpartition(".")
            number = {"conv_in": 0, "conv_out": 14}.get(layer) if "blocks" not in layer else 2 * int(layer[7:]) + 2
            name = f"input_hint_block.{number}.{kind}"
        elif part == "controlnet_down_blocks":
            number_text, _, kind = rest.partition(".")
            name = f"zero_convs.{number_text}.0.{kind}"
        elif part == "controlnet_mid_block":
            name = f"middle_block_out.0.{rest}"
        else:
            name = unet_name(key, net)
        state[f"control_model.{name}"] = value.contiguous()
    return state


def to_original_vae(vae: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Convert the state dict of a VAE to the layout of `vae-ft-mse-840000-ema-pruned.safetensors`."""
    levels = 1 + max(int(key.split(".")[2]) for key in vae if key.startswith("encoder.down_blocks."))
    state = {}
    for key, value in vae.items():
        name = vae_name(key, levels)
        attention = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", name)
        state[prefix + name] = (value[:, :, None, None] if attention else value).contiguous()
    return state


def unet_name(key: str, unet: Mapping[str, Any]) -> str:
    """Return the original name of a UNet's tensor; `unet` is the state dict that defines the layers per block."""
    layers = 1 + max(int(name.split(".")[3]) for name in unet if name.startswith("down_blocks.0.resnets."))
    for diffusers_name, original_name in TOP.items():
        if key.startswith(f"{diffusers_name}."):
            return original_name + key.removeprefix(diffusers_name)
    if key.startswith("mid_block."):
        _, kind, number, rest = key.split(".", 3)
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{_inside(kind, rest)}"
    side, block, kind, number, rest = key.split(".", 4)
    at, layer = int(block), int(number)
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{(at + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{at * (layers + 1) + layer + 1}.{int(kind == 'attentions')}.{_inside(kind, rest)}"
    if kind == "upsamplers":
        with_attention = any(name.startswith(f"up_blocks.{block}.attentions.") for name in unet)
        return f"output_blocks.{at * (layers + 1) + layers}.{1 + with_attention}.{rest}"
    return f"output_blocks.{at * (layers + 1) + layer}.{int(kind == 'attentions')}.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    part, _, tail = rest.partition(".")
    return f"{RESNET[part]}.{tail}"


def vae_name(key: str, levels: int) -> str:
    """Return the original name of a VAE's tensor; the decoder numbers its levels in reverse order."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    for diffusers_name, original_name in {
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    }.items():
        key = key.replace(f"mid_block.attentions.0.{diffusers_name}.", f"mid.attn_1.{original_name}.")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", key)


def to_original_sdxl(
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    text_encoder: Mapping[str, Any] | None,
    text_encoder_2: Mapping[str, Any],
) -> dict[str, Any]:
    """Convert the state dicts of SDXL, or of its refiner, which has no first text encoder, to one original state."""
    state = to_original_sd1(
        {key: value for key, value in unet.items() if not key.startswith("add_embedding.")}, vae, text_encoder or {}
    )
    first = "conditioner.embedders.0.transformer."
    state = {key.replace("cond_stage_model.transformer.", first): value for key, value in state.items()}
    for number, layer in (("0", "linear_1"), ("2", "linear_2")):
        for kind in ("weight", "bias"):
            state[f"model.diffusion_model.label_emb.0.{number}.{kind}"] = unet[f"add_embedding.{layer}.{kind}"]
    prefix = f"conditioner.embedders.{1 if text_encoder else 0}.model."
    state |= {f"{prefix}{key}": value for key, value in to_open_clip(text_encoder_2).items()}
    return {key: value.contiguous() for key, value in state.items()}


OPEN_CLIP = {
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYERS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def to_open_clip(text_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a CLIP text encoder with projection to the names of OpenCLIP; query, key and value are one tensor."""
    import torch

    state: dict[str, Any] = {}
    for key, value in text_encoder.items():
        if key == "text_projection.weight":
            state["text_projection"] = value.T
        elif key in OPEN_CLIP:
            state[OPEN_CLIP[key]] = value
        elif match := re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key):
            number, layer, kind = match.groups()
            block = f"transformer.resblocks.{number}"
            if layer == "self_attn.q_proj":
                parts = [text_encoder[key.replace("q_proj", f"{name}_proj")] for name in "qkv"]
                state[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
            elif layer in OPEN_CLIP_LAYERS:
                state[f"{block}.{OPEN_CLIP_LAYERS[layer]}.{kind}"] = value
    return state
