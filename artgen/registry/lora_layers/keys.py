"""Parse the tensor names of all adapter formats: the layer and the factor that a tensor belongs to.

A layer has several names: `down_blocks.1.attentions.0.proj_in` (diffusers), the same with underscores (kohya's
sd-scripts, LyCORIS, OneTrainer), `input_blocks_4_1_proj_in` (original code). This module returns names with
underscores; names in text encoders have no leading `text_model`. `original_names` converts them to diffusers' names.
"""

import re
from typing import NamedTuple

_TENSOR_PATTERN = re.compile(
    r"(?P<layer>.+?)(?:"
    r"\.lora_(?P<matrix>A|B|down|up|mid)(?:\.\w+)?\.weight"
    r"|[._]lora(?P<number>[12]?)\.(?P<old>down|up)\.weight"
    r"|\.lora_linear_layer\.(?P<linear>down|up)\.weight"
    r"|\.lora_magnitude_vector(?:\.\w+)*(?P<magnitude>)"
    r"|\.(?P<factor>hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|dora_scale|alpha)"
    r")"
)
_MATRIX_NAMES = {"A": "down", "B": "up"}
DENOISER = "denoiser"
"""Component name of the UNet or the transformer in a `LayerKey`."""
_COMPONENT_PREFIXES = {
    "lora_unet_": (DENOISER, "kohya"),
    "lora_transformer_": (DENOISER, "onetrainer"),
    "lora_te_": ("text_encoder", "kohya"),
    "lora_te1_": ("text_encoder", "kohya"),
    "lora_te2_": ("text_encoder_2", "kohya"),
    "lora_te3_": ("text_encoder_3", "kohya"),
    "lycoris_": (DENOISER, "lycoris"),
    "unet.": (DENOISER, "diffusers"),
    "transformer.": (DENOISER, "diffusers"),
    "text_encoder.": ("text_encoder", "diffusers"),
    "text_encoder_2.": ("text_encoder_2", "diffusers"),
    "text_encoder_3.": ("text_encoder_3", "diffusers"),
    "text_encoders.clip_l.transformer.": ("text_encoder", "comfyui"),
    "text_encoders.clip_g.transformer.": ("text_encoder_2", "comfyui"),
    "text_encoders.t5xxl.transformer.": ("text_encoder_3", "comfyui"),
    "diffusion_model.": (DENOISER, "comfyui"),
    "base_model.model.": (DENOISER, "peft"),
}
"""Prefix of the tensor's name -> (component, format). `comfyui` names are also the names of ai-toolkit."""

_LEGACY_TEXT_KEYS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_RESNET_KEYS = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TOP_LEVEL_KEYS = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}


class LayerKey(NamedTuple):
    """Identify a layer of a model by its component and its name with underscores."""

    component: str
    name: str


class TensorKey(NamedTuple):
    """Identify a tensor of an adapter.

    Attributes:
        layer: the layer, with the name of the file's format.
        factor: down, up, mid, alpha, magnitude, dora_scale, or a name of LyCORIS (`hada_w1_a`, `lokr_w2`).
        format: kohya, onetrainer, lycoris, diffusers, comfyui, xlabs or peft (no prefix).
    """

    layer: LayerKey
    factor: str
    format: str


def parse_tensor_key(key: str) -> TensorKey | None:
    """Return the layer and the factor of a tensor; None for a name of an unknown format."""
    found = _TENSOR_PATTERN.fullmatch(key)
    if found is None:
        return None
    prefix = next((start for start in _COMPONENT_PREFIXES if key.startswith(start)), "")
    component, file_format = _COMPONENT_PREFIXES.get(prefix, (DENOISER, "peft"))
    name = found["layer"][len(prefix) :]
    if ".processor." in name and re.match(r"(double|single)_blocks\.", name):
        file_format = "xlabs"
    name = name.replace(".processor.", ".")
    if file_format == "xlabs":
        name += found["number"] or ""
    elif found["old"] and found[0][found.end("layer")] == "_":  # the oldest form: attn1.processor.to_q_lora.down
        head, _, last = name.rpartition(".")
        if component.startswith("text"):
            last = _LEGACY_TEXT_KEYS.get(last, last)
        name = f"{head}.{'to_out.0' if last == 'to_out' else last}"
    if found["magnitude"] is not None:
        factor = "magnitude"
    else:
        factor = found["matrix"] or found["old"] or found["linear"] or found["factor"]
    return TensorKey(LayerKey(component, kohya_key(name)), _MATRIX_NAMES.get(factor, factor), file_format)


def kohya_key(name: str) -> str:
    """Return a layer's name with underscores, as in kohya's format."""
    return name.replace(".", "_").removeprefix("text_model_")


def from_ldm_key(name: str, layers_per_block: int) -> str:
    """Convert a UNet layer's name in the original code to diffusers' name, both with underscores.

    Args:
        name: for example `input_blocks_4_1_proj_in`; other names are returned unchanged.
        layers_per_block: residual layers of each down block (diffusers' `layers_per_block`).
    """
    if name in _TOP_LEVEL_KEYS:
        return _TOP_LEVEL_KEYS[name]
    if middle := re.fullmatch(r"middle_block_([012])_(.+)", name):
        at = int(middle[1])
        return "mid_block_" + (
            f"attentions_0_{middle[2]}" if at == 1 else f"resnets_{at // 2}_{_resnet_key(middle[2])}"
        )
    found = re.fullmatch(r"(input|output)_blocks_(\d+)_([012])_(.+)", name)
    if found is None:
        return name
    down, number, kind, rest = found[1] == "input", int(found[2]), int(found[3]), found[4]
    block, layer = divmod(number - 1 if down else number, layers_per_block + 1)
    start = f"{'down' if down else 'up'}_blocks_{block}"
    if rest in ("op", "conv"):
        return f"{start}_{'downsamplers' if down else 'upsamplers'}_0_conv"
    return f"{start}_attentions_{layer}_{rest}" if kind else f"{start}_resnets_{layer}_{_resnet_key(rest)}"


def _resnet_key(rest: str) -> str:
    return _RESNET_KEYS.get(rest, rest)
