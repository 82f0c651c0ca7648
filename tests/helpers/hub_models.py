"""Files of hub repositories whose weights are large, for tests of the checks that run before weights are downloaded."""

import json
from pathlib import Path
from typing import Any

import hub_server
import model_layouts
from safetensors_files import filled_bytes

WEIGHT_BYTES = 400_000
SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon"}
FLOW_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
CLIP = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99,
        "max_position_embeddings": 77, "model_type": "clip_text_model"}  # fmt: skip
VAE = {"_class_name": "AutoencoderKL", "block_out_channels": [4, 4, 4, 4], "latent_channels": 4}
TRANSFORMER = {"_class_name": "Transformer", "in_channels": 16, "patch_size": 2, "num_layers": 2, "sample_size": 64}
COMPONENTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "scheduler": (["diffusers", "EulerDiscreteScheduler"], SCHEDULER),
    "text_encoder": (["transformers", "CLIPTextModel"], CLIP),
    "tokenizer": (["transformers", "CLIPTokenizer"], {"model_max_length": 77}),
    "transformer": (["diffusers", "Transformer2DModel"], TRANSFORMER),
    "vae": (["diffusers", "AutoencoderKL"], VAE),
}
CONFIG_NAMES = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}


def pipeline_files(class_name: object, /, **changes: Any) -> dict[str, bytes]:
    """Return the files of a model with a transformer; the weights are not valid for its configurations.

    Args:
        class_name: `_class_name` in model_index.json.
        changes: component -> changed keys of its configuration, or None for a model without the component.
    """
    index: dict[str, Any] = {"_class_name": class_name}
    files: dict[str, bytes] = {}
    for name, (entry, config) in COMPONENTS.items():
        if changes.get(name, {}) is None:
            continue
        index[name] = entry
        content = {**config, **changes.get(name, {})}
        files[f"{name}/{CONFIG_NAMES.get(name, 'config.json')}"] = json.dumps(content).encode()
        if name == "tokenizer":
            files |= {"tokenizer/vocab.json": b"{}", "tokenizer/merges.txt": b"#version: 0.2\n"}
        elif name != "scheduler":
            stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
            files[f"{name}/{stem}.safetensors"] = filled_bytes({"a": (WEIGHT_BYTES // 4,)})
    return {"model_index.json": json.dumps(index).encode(), **files}


def folder_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a model folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def layout_files(name: str, root: Path) -> dict[str, bytes]:
    """Return the files of a model of `model_layouts.json`, written below `root`."""
    layouts: dict[str, model_layouts.Layout] = json.loads(model_layouts.LAYOUTS_FILE.read_text())
    return folder_files(model_layouts.write_folder(root / name, layouts[name]))


def weight_downloads(hub: hub_server.Hub) -> list[str]:
    """Return the requested files that are neither the index nor a configuration."""
    return [
        name
        for name in hub.downloads()
        if not name.endswith(".json") or name.endswith(("vocab.json", "tokenizer.json"))
    ]
