"""Derive the configuration of a control net that is a single .safetensors file from the shapes of its tensors."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.checkpoint_content import FileContent, read_content
from artgen.registry.model_configs import read_config

_COMMON = {"_class_name": "ControlNetModel", "in_channels": 4, "layers_per_block": 2}
_SD1 = {
    **_COMMON,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SD2 = {**_SD1, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
_SDXL = {
    **_COMMON,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CONFIGS: Mapping[int, Mapping[str, Any]] = MappingProxyType({768: _SD1, 1024: _SD2, 2048: _SDXL})
"""Configuration of the ControlNets for Stable Diffusion 1, 2 and XL, by the width of the text embedding."""

_FOLDER_HINT = "Use the folder of the net, with config.json and diffusion_pytorch_model.safetensors."


def read_net_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the class and the configuration of a single file: of config.json next to it, else derived.

    Only the configurations of ControlNets for Stable Diffusion 1, 2 and XL can be derived.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is damaged, is not a control net, or its configuration cannot be derived.
    """
    content = read_content(path)
    config_file = path.parent / "config.json"
    if path.stem.startswith("diffusion_pytorch_model") and config_file.is_file():
        config = read_config(config_file)
        if isinstance(config.get("_class_name"), str):
            return str(config["_class_name"]), config
    if content.file_kind is None or content.file_kind.kind not in ("controlnet", "t2i_adapter"):
        found = (
            content.file_kind.description if content.file_kind else "a model" if content.denoiser else "another file"
        )
        raise InputFileError(
            f"Cannot use '{path.name}' as a control net: it is {found}.", "Pass the .safetensors file of a ControlNet."
        )
    config = dict(CONFIGS.get(_text_width(content), {}))
    is_union = any("task_embedding" in name or "control_add_embedding" in name for name in content.shapes)
    if not config or is_union or _first_width(content) != 320:
        raise InputFileError(
            f"Cannot derive the configuration of the control net '{path.name}' from its tensors.", _FOLDER_HINT
        )
    return "ControlNetModel", config


def _text_width(content: FileContent) -> int:
    """Return the width of the text embedding; 0 if no cross-attention is found."""
    return next((shape[1] for name, shape in content.shapes.items() if name.endswith("attn2.to_k.weight")), 0)


def _first_width(content: FileContent) -> int:
    """Return the output channels of the first convolution, in the names of diffusers or of the original authors."""
    names = ("conv_in.weight", "input_blocks.0.0.weight")
    return next((shape[0] for name, shape in content.shapes.items() if name.endswith(names) and shape[1] == 4), 0)
