"""Break copies of a tiny Stable Diffusion 1 model: wrong, hostile, missing and mismatched files. Does not import torch.

`BREAKAGES` maps a name to a function that changes a copy of the model. No function of this table leaves a model that
can be loaded.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors_files import zero_file

Breakage = Callable[[Path], None]

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "text_encoder/model.safetensors"
UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, TOKENIZER, INDEX = (
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
    "model_index.json",
)


def set_key(file: str, key: str, value: Any) -> Breakage:
    """Return a function that sets a key of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return change


def _raw(file: str, key: str, text: str) -> Breakage:
    """Set a key to a JSON text that Python cannot represent."""

    def change(folder: Path) -> None:
        set_key(file, key, "@@")(folder)
        path = folder / file
        path.write_text(path.read_text().replace('"@@"', text))

    return change


def _drop_key(file: str, key: str) -> Breakage:
    def change(folder: Path) -> None:
        values = json.loads((folder / file).read_text())
        del values[key]
        (folder / file).write_text(json.dumps(values))

    return change


def _write(file: str, text: str | bytes) -> Breakage:
    def change(folder: Path) -> None:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return change


def _remove(name: str) -> Breakage:
    def change(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return change


def _truncate(file: str, divisor: int = 2) -> Breakage:
    def change(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: len(data) // divisor])

    return change


def _reshape(file: str, rename: Callable[[str, tuple[int, ...]], tuple[str, tuple[int, ...]] | None]) -> Breakage:
    """Write the weights again as zeros, with other names and shapes."""

    def change(folder: Path) -> None:
        from artgen.registry.safetensors_header import read_header

        tensors = read_header(folder / file).tensors
        changed = [found for name, (_, shape) in tensors.items() if (found := rename(name, shape))]
        zero_file(folder / file, dict(changed), {"format": "pt"}, dtype="F32")

    return change


def _pickle_only(folder: Path) -> None:
    (folder / UNET_WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.bin")


def _other_variant(folder: Path) -> None:
    (folder / UNET_WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.ema.safetensors")


def _sharded(*shards: str) -> Breakage:
    def change(folder: Path) -> None:
        (folder / UNET_WEIGHTS).rename(folder / "unet/diffusion_pytorch_model-00001-of-00002.safetensors")
        index = {"weight_map": {f"x{i}": shard for i, shard in enumerate(shards)}}
        (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))

    return change


def _component(name: str, *entry: Any) -> Breakage:
    return set_key(INDEX, name, list(entry))


SIZES = {
    UNET: ("in_channels", "out_channels", "sample_size", "layers_per_block", "cross_attention_dim",
           "attention_head_dim", "norm_num_groups"),
    VAE: ("in_channels", "latent_channels", "layers_per_block", "norm_num_groups"),
    TEXT: ("max_position_embeddings", "num_hidden_layers", "vocab_size", "hidden_size", "intermediate_size",
           "num_attention_heads"),
    SCHEDULER: ("num_train_timesteps",),
}  # fmt: skip
WRONG_VALUES: dict[str, Any] = {
    "text": "x", "object": {"a": 1}, "nested": [[[1]]], "negative": -3, "huge": 20_000_000, "enormous": 10**12,
    "list": [1] * 9, "fraction": 0.5, "bool": True,
}  # fmt: skip
BREAKAGES: dict[str, Breakage] = {
    **{f"{file} {key} {name}": set_key(file, key, value)
       for file, keys in SIZES.items() for key in keys for name, value in WRONG_VALUES.items()},
    **{f"{file} {keys[0]} {text[:9]}": _raw(file, keys[0], text)
       for file, keys in SIZES.items() for text in ("1e999", "NaN", "-Infinity", "9" * 5000, "[" * 5000 + "]" * 5000)},
    **{f"{file} {key} {i}": set_key(file, key, value) for file, key in ((UNET, "block_out_channels"),
       (VAE, "block_out_channels")) for i, value in enumerate(
           ([], [0], "x", None, 8, [8], [8, 16, 32], [8, "x"], [8, 10**9], [8, -16], [7, 13], [8] * 100, [[8], [16]]))},
    **{f"block types {i}": set_key(UNET, "down_block_types", value)
       for i, value in enumerate((["No", "Such"], "DownBlock2D", [1, 2], ["DownBlock2D"], None, []))},
    **{f"code in {key} {i}": set_key(TEXT, key, value) for key, values in {
        "_attn_implementation": ("owner/kernel", "flash_attention_2", "kernels-community/x@v1:f", 3),
        "attn_implementation": ("owner/kernel", {"": "owner/kernel"}, ["owner/kernel"]),
        "_attn_implementation_internal": ("owner/kernel",),
        "_experts_implementation": ("owner/kernel",),
        "quantization_config": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {}, "x"),
        "auto_map": ({"AutoModel": "code.Model"}, "code.Model"),
        "transformers_weights": ("../x.bin", "adapter_model.bin"),
        "text_config": ({"_attn_implementation": "owner/kernel"},),
    }.items() for i, value in enumerate(values)},
    "code in the UNet's configuration": set_key(UNET, "quantization_config", {"quant_method": "gguf"}),
    "code in the tokenizer": set_key(TOKENIZER, "auto_map", {"AutoTokenizer": ["code.T", None]}),
    "adapter": _write("text_encoder/adapter_config.json", '{"base_model_name_or_path": "owner/other"}'),
    "dtype of text": set_key(TEXT, "dtype", "os.system"),
    "dtype of number": set_key(TEXT, "torch_dtype", 7),
    "python file": _write("unet/code.py", "raise SystemExit"),
    "other library": _component("unet", "os", "UNet2DConditionModel"),
    "module of a library": _component("unet", "diffusers.utils", "UNet2DConditionModel"),
    "custom module": _component("unet", "my_unet", "MyUNet"),
    "other class": _component("unet", "diffusers", "NoSuchModel"),
    "function": _component("unet", "diffusers", "__version__"),
    "class of another kind": _component("unet", "diffusers", "DDIMScheduler"),
    "scheduler without weights": _component("scheduler", "diffusers", "NoSuchScheduler"),
    "scheduler of another kind": _component("scheduler", "diffusers", "UNet2DConditionModel"),
    "tokenizer of another class": _component("tokenizer", "transformers", "NoSuchTokenizer"),
    "three entries": _component("unet", "diffusers", "UNet2DConditionModel", "x"),
    "entry of numbers": _component("unet", 1, 2),
    "nested entry": _component("unet", ["diffusers"], "UNet2DConditionModel"),
    "unknown component": _component("other", "diffusers", "AutoencoderKL"),
    "component outside": _component("../unet", "diffusers", "UNet2DConditionModel"),
    "no vae": _drop_key(INDEX, "vae"), "no scheduler": _drop_key(INDEX, "scheduler"),
    "no tokenizer": _drop_key(INDEX, "tokenizer"), "no text encoder": _drop_key(INDEX, "text_encoder"),
    "absent vae": _component("vae", None, None), "absent tokenizer": _component("tokenizer", None, None),
    "absent scheduler": _component("scheduler", None, None),
    **{f"pipeline {value}": set_key(INDEX, "_class_name", value)
       for value in ("NoSuchPipeline", "UNet2DConditionModel", 3, None, ["x", "y"], "StableDiffusionXLPipeline",
                     "FluxPipeline", "os.system", "")},
    **{f"version {value}": set_key(INDEX, "_diffusers_version", value) for value in ({"a": 1}, 3)},
    **{f"class {value} of {file}": set_key(file, "_class_name", value)
       for file in (UNET, VAE) for value in (3, ["x"])},
    **{f"{name} removed": _remove(name) for name in
       ("unet", "vae", "text_encoder", "tokenizer", "scheduler", UNET, VAE, TEXT, SCHEDULER, INDEX, UNET_WEIGHTS,
        TEXT_WEIGHTS)},
    "tokenizer without vocabulary": lambda folder: [
        path.unlink() for path in (folder / "tokenizer").iterdir() if path.name != "tokenizer_config.json"] and None,
    **{f"{file} {name}": _write(file, content)
       for file in (UNET, TEXT, SCHEDULER, TOKENIZER, INDEX, UNET_WEIGHTS)
       for name, content in {"empty": "", "list": "[]", "null": "null", "binary": b"\xff\xfe\x00", "cut": '{"a": ',
                             "deep": '{"a":' * 3000 + "1" + "}" * 3000}.items()},
    **{f"{file} cut {n}": _truncate(file, n) for file in (UNET_WEIGHTS, TEXT_WEIGHTS) for n in (2, 1000)},
    "tensor of another shape": _reshape(UNET_WEIGHTS, lambda name, shape: (name, (*shape[:-1], shape[-1] + 1))),
    "tensors of other names": _reshape(UNET_WEIGHTS, lambda name, shape: (f"x.{name}", shape)),
    "missing tensor": _reshape(UNET_WEIGHTS, lambda name, shape: None if name == "conv_out.bias" else (name, shape)),
    "missing text tensor": _reshape(
        TEXT_WEIGHTS, lambda name, shape: None if name.endswith("fc1.bias") else (name, shape)),
    "text tensor of another shape": _reshape(
        TEXT_WEIGHTS, lambda name, shape: (name, (shape[0] + 1, *shape[1:]) if "fc1" in name else shape)),
    "no tensors": _reshape(UNET_WEIGHTS, lambda name, shape: None),
    "pickle only": _pickle_only, "other variant": _other_variant,
    "missing shards": _sharded(
        "diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"),
    "shard outside": _sharded("../../x.safetensors"), "shards of other tensors": _sharded(
        "diffusion_pytorch_model-00001-of-00002.safetensors"),
    "tokenizer file of text": _write("tokenizer/tokenizer.json", "x"),
    "tokenizer file of another shape": _write("tokenizer/tokenizer.json", '{"model": {"type": "BPE", "vocab": 3}}'),
    **{f"scheduler {key}": set_key(SCHEDULER, key, value) for key, value in {
        "beta_schedule": "nope", "beta_start": "x", "prediction_type": 3, "trained_betas": "x",
        "beta_end": None, "timestep_spacing": 3}.items()},
}  # fmt: skip


def write_broken(name: str, model: Path, folder: Path) -> Path:
    """Copy a model to `folder`, and break the copy."""
    shutil.copytree(model, folder)
    BREAKAGES[name](folder)
    return folder
