"""Create LoRAs for the tiny models with PEFT, in the formats of diffusers and kohya's sd-scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from peft import LoraConfig, get_peft_model_state_dict
from plain_scripts import ABSENT, quiet
from safetensors.torch import save_file

UNET = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.2", "conv1", "time_emb_proj"]
TRANSFORMER = ["to_q", "to_k", "attn.add_q_proj", "ff.net.2"]
TEXT = ["q_proj", "out_proj", "fc1"]

StateDicts = dict[str, dict[str, torch.Tensor]]


def lora_state_dicts(
    folder: Path, *, rank: int = 2, seed: int = 0, parts: Mapping[str, list[str]] | None = None
) -> StateDicts:
    """Return the state dicts of a LoRA by component, with PEFT's names and a visible effect."""
    with quiet():
        absent = dict.fromkeys(ABSENT) if (folder / "transformer").is_dir() else {}
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **absent)
    torch.manual_seed(seed)
    state_dicts: StateDicts = {}
    for component in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        module = getattr(pipe, component, None)
        targets = (
            {"unet": UNET, "transformer": TRANSFORMER}.get(component, TEXT) if parts is None else parts.get(component)
        )
        if module is None or not targets:
            continue
        module.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights="gaussian"))
        state_dict = get_peft_model_state_dict(module)
        state_dicts[component] = {name: torch.randn_like(values) * 0.3 for name, values in state_dict.items()}
    return state_dicts


def diffusers_lora(path: Path, folder: Path, **kwargs: Any) -> Path:
    """Save a LoRA in the format of diffusers."""
    state_dicts = lora_state_dicts(folder, **kwargs)
    tensors = {
        f"{component}.{name}": values
        for component, state_dict in state_dicts.items()
        for name, values in state_dict.items()
    }
    save_file(tensors, path)
    return path


def kohya_lora(path: Path, folder: Path, *, alphas: Mapping[str, float] | float = 1.0, **kwargs: Any) -> Path:
    """Save a LoRA in kohya's format. `alphas`: for all layers, or by the suffix of a layer's key."""
    state_dicts = lora_state_dicts(folder, **kwargs)
    has_two = "text_encoder_2" in state_dicts
    prefixes = {"unet": "unet", "text_encoder": "te1" if has_two else "te", "text_encoder_2": "te2"}
    tensors: dict[str, torch.Tensor] = {}
    for component, state_dict in state_dicts.items():
        for name, values in state_dict.items():
            layer, _, side = name.removesuffix(".weight").rpartition(".lora_")
            if component != "unet" and not layer.startswith("text_model"):
                layer = f"text_model.{layer}"
            key = f"lora_{prefixes[component]}_{layer.replace('.', '_')}"
            tensors[f"{key}.lora_{'down' if side == 'A' else 'up'}.weight"] = values
            alpha = (
                alphas
                if isinstance(alphas, float)
                else next((value for suffix, value in alphas.items() if key.endswith(suffix)), 1.0)
            )
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path
