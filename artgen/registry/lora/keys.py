"""Convert the tensor names of all LoRA formats to the names of the layers that they change.

A layer has several names: `down_blocks.1.attentions.0.proj_in` (diffusers), the same with underscores (kohya's
sd-scripts), `input_blocks_4_1_proj_in` (sd-scripts for Stable Diffusion XL, as in the original code). This module
converts all of them to diffusers' names with underscores; names in text encoders have no leading `text_model`.
"""

import re
from typing import NamedTuple

_TENSOR_PATTERN = re.compile(
    r"(?P<layer>.+?)(?:\.(?P<ab>lora_[AB])|\.(?P<way>lora_down|lora_up)|[._]lora\.(?P<old>down|up)"
    r"|\.lora_linear_layer\.(?P<linear>down|up))\.weight"
)
_COMPONENT_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "transformer.": "transformer",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
"""Prefix of the tensor's name -> component of the pipeline."""

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
    """Identify a tensor of a LoRA by its layer and whether it is the down-projection to the rank."""

    layer: LayerKey
    is_down: bool


def parse_tensor_key(key: str) -> TensorKey | None:
    """Return the layer of a tensor; None for a name of an unknown format."""
    found = _TENSOR_PATTERN.fullmatch(key)
    start = next((start for start in _COMPONENT_PREFIXES if key.startswith(start)), None)
    if found is None or start is None:
        return None
    part = _COMPONENT_PREFIXES[start]
    name = found["layer"][len(start) :].replace(".processor.", ".")
    if found["old"] and found[0][found.end("layer")] == "_":  # the oldest form: attn1.processor.to_q_lora.down
        head, _, last = name.rpartition(".")
        if part.startswith("text"):
            last = _LEGACY_TEXT_KEYS.get(last, last)
        name = f"{head}.{'to_out.0' if last == 'to_out' else last}"
    way = found["ab"] or found["way"] or found["old"] or found["linear"]
    return TensorKey(LayerKey(part, kohya_key(name)), way in ("lora_A", "lora_down", "down"))


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
