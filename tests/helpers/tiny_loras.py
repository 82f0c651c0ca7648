"""LoRAs for the tiny models, made with peft and saved as diffusers and kohya's sd-scripts save them."""

import json
import math
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

States = dict[str, dict[str, torch.Tensor]]


def states(folder: Path, *, rank: int = 2, seed: int = 0, parts: Mapping[str, list[str]] | None = None) -> States:
    """State dicts of a LoRA for a model, by part of the pipeline and in peft's names; strong enough to be seen."""
    with quiet():
        absent = dict.fromkeys(ABSENT) if (folder / "transformer").is_dir() else {}
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **absent)
    torch.manual_seed(seed)
    found: States = {}
    for part in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        module = getattr(pipe, part, None)
        targets = {"unet": UNET, "transformer": TRANSFORMER}.get(part, TEXT) if parts is None else parts.get(part)
        if module is None or not targets:
            continue
        module.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights="gaussian"))
        state = get_peft_model_state_dict(module)
        found[part] = {name: torch.randn_like(values) * 0.3 for name, values in state.items()}
    return found


def diffusers_lora(path: Path, folder: Path, **more: Any) -> Path:
    """A LoRA in diffusers' form."""
    parts = states(folder, **more)
    save_file({f"{part}.{name}": values for part, state in parts.items() for name, values in state.items()}, path)
    return path


def kohya_lora(path: Path, folder: Path, *, alphas: Mapping[str, float] | float = 1.0, **more: Any) -> Path:
    """The same in kohya's form; `alphas` for all layers, or by the end of a layer's name with underscores."""
    parts = states(folder, **more)
    two = "text_encoder_2" in parts
    start = {"unet": "unet", "text_encoder": "te1" if two else "te", "text_encoder_2": "te2"}
    tensors: dict[str, torch.Tensor] = {}
    for part, state in parts.items():
        for name, values in state.items():
            layer, _, side = name.removesuffix(".weight").rpartition(".lora_")
            if part != "unet" and not layer.startswith("text_model"):
                layer = f"text_model.{layer}"
            key = f"lora_{start[part]}_{layer.replace('.', '_')}"
            tensors[f"{key}.lora_{'down' if side == 'A' else 'up'}.weight"] = values
            alpha = (
                alphas
                if isinstance(alphas, float)
                else next((value for end, value in alphas.items() if key.endswith(end)), 1.0)
            )
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


Shapes = Mapping[str, tuple[int, ...]]


def blank(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Path:
    """A sparse safetensors file with these tensors in half precision, all of them zero."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path
