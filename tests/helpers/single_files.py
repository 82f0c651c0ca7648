"""Write tiny models as single files, with their base model named in the `.artgen.json` file next to them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from original_layout import to_original_sd1, to_original_sdxl, vae_name
from safetensors.torch import load_file, save_file

DENOISER = "model.diffusion_model."

State = dict[str, torch.Tensor]


def component_state(folder: Path, component: str) -> State:
    """Return the tensors of a component of a model folder."""
    return {key: value for file in (folder / component).glob("*.safetensors") for key, value in load_file(file).items()}


def original_state(folder: Path) -> State:
    """Return a Stable Diffusion 1 or XL model in the layout of its authors."""
    unet, vae, text_encoder = (component_state(folder, name) for name in ("unet", "vae", "text_encoder"))
    if (folder / "text_encoder_2").is_dir():
        return to_original_sdxl(unet, vae, text_encoder, component_state(folder, "text_encoder_2"))
    cond = unet.pop("time_embedding.cond_proj.weight", None)
    state = to_original_sd1(unet, vae, text_encoder)
    return state if cond is None else {**state, f"{DENOISER}time_embed.cond_proj.weight": cond}


def transformer_state(folder: Path, encoders: Mapping[str, str], vae_prefix: str) -> State:
    """Return a model with a transformer as ComfyUI stores it: the tensors of all components with prefixes.

    Args:
        folder: model folder.
        encoders: component -> prefix in the file, such as `text_encoders.t5xxl.transformer.`.
        vae_prefix: `vae.` or `first_stage_model.`.
    """
    state = {f"{DENOISER}{key}": value for key, value in component_state(folder, "transformer").items()}
    for component, prefix in encoders.items():
        state |= {f"{prefix}{key}": value for key, value in component_state(folder, component).items()}
    vae = component_state(folder, "vae")
    levels = 1 + max(int(key.split(".")[2]) for key in vae if key.startswith("encoder.down_blocks."))
    for key, value in vae.items():
        name = vae_name(key, levels)
        is_attention = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", name)
        state[f"{vae_prefix}{name}"] = value[:, :, None, None] if is_attention else value
    return state


def ema_only(state: Mapping[str, torch.Tensor]) -> State:
    """Return a state whose denoiser has only EMA weights, whose names have no dots."""
    return {
        f"model_ema.{''.join(key.split('.')[1:])}" if key.startswith(DENOISER) else key: value
        for key, value in state.items()
    } | {"model_ema.decay": torch.tensor(0.9999)}


def write_single_file(
    name: str, state: Mapping[str, torch.Tensor], base: Path, metadata: dict[str, str] | None = None, **fields: Any
) -> str:
    """Write NAME.safetensors and NAME.artgen.json to the current folder; return the path of the model."""
    save_file({key: value.contiguous().clone() for key, value in state.items()}, f"{name}.safetensors", metadata)
    Path(f"{name}.artgen.json").write_text(json.dumps({"base": str(base), **fields}))
    return f"{name}.safetensors"
