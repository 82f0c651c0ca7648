"""Describe the files of control nets and IP-Adapters for `artgen info`, from their headers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.registry.checkpoint_content import FileContent, read_content
from artgen.registry.control_nets import ControlNet, NetEntry, net_entries
from artgen.registry.control_nets.find import describe_net
from artgen.registry.control_nets.fit import NET_CLASSES
from artgen.registry.hub import cache
from artgen.registry.image_prompts import layers as adapter_layers
from artgen.registry.image_prompts.adapter import adapter_entries
from artgen.registry.model_configs import read_config

UNKNOWN = "other"
_ARCHITECTURES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Architecture of the models whose text embedding has this width."""

_UNION_TENSORS = ("task_embedding", "control_add_embedding")
_ADAPTER_INPUTS_XL = frozenset({256, 768})
"""Input channels of T2I-Adapters for SDXL: squares of 16 pixels, gray or RGB. Those for Stable Diffusion 1 have 8."""


def describe_part(path: Path, kind: str) -> dict[str, Any]:
    """Return the architecture, the class and other properties of a file; empty for other kinds of files.

    Args:
        path: .safetensors file.
        kind: kind of the file; see `CheckpointInfo`.

    Raises:
        InputFileError: the file or the configuration next to it is damaged.
    """
    if kind in ("controlnet", "t2i_adapter"):
        return _describe_net(path, read_content(path))
    return _describe_adapter(path, read_content(path)) if kind == "ip_adapter" else {}


def _describe_net(path: Path, content: FileContent) -> dict[str, Any]:
    if any(name.startswith("lllite_") for name in content.shapes):
        return {}
    config = _net_config(path, content)
    net = describe_net(ControlNet(path.stem, path, str(config["_class_name"]), "", config=config))
    entry = _net_entry(path)
    if entry is not None and net.architecture in ("", entry.architecture):  # another file can have the same name
        net = describe_net(replace(net, class_name=entry.class_name), entry)
    is_diffusers = any(name.startswith(("controlnet_", "adapter.")) for name in content.shapes)
    return {
        "architecture": net.architecture or UNKNOWN,
        "class_name": net.class_name,
        "layout": "diffusers" if is_diffusers else "original",
        **({"control_kinds": list(net.kinds)} if net.kinds else {}),
        **({"is_inpaint": True} if net.is_inpaint else {}),
    }


def _net_entry(path: Path) -> NetEntry | None:
    """Return the entry of a net that ships with artgen, is in the cache of the hub, or has the name of its file."""
    folders = {cache.repository_folder(entry.source).name: entry for entry in net_entries().values() if not entry.file}
    for entry in net_entries().values():
        if entry.bundled_folder == path.absolute().parent or entry.file == path.name:
            return entry
        if not entry.file and path.stem.startswith(entry.source.rpartition("/")[2]):
            return entry
    return next((folders[parent.name] for parent in path.absolute().parents if parent.name in folders), None)


def _net_config(path: Path, content: FileContent) -> Mapping[str, Any]:
    """Return the configuration next to a file, else the properties detected from its tensors."""
    file = path.parent / "config.json"
    if path.stem.startswith("diffusion_pytorch_model") and file.is_file():
        config = read_config(file)
        if config.get("_class_name") in NET_CLASSES:
            return config
    shapes = content.shapes
    if content.file_kind is not None and content.file_kind.kind == "t2i_adapter":
        is_xl = next(
            (shape[1] in _ADAPTER_INPUTS_XL for name, shape in shapes.items() if "conv_in.weight" in name), False
        )
        return {"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl" if is_xl else "full_adapter"}
    if any(name.startswith("controlnet_x_embedder.") for name in shapes):
        return {"_class_name": "FluxControlNetModel"}
    if any(name.startswith("pos_embed_input.") for name in shapes):
        return {"_class_name": "SD3ControlNetModel"}
    is_union = any(part in name for name in shapes for part in _UNION_TENSORS)
    return {
        "_class_name": "ControlNetUnionModel" if is_union else "ControlNetModel",
        "cross_attention_dim": next(
            (shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), 0
        ),
    }


def _describe_adapter(path: Path, content: FileContent) -> dict[str, Any]:
    if "redux_up.weight" in content.shapes:
        return {"architecture": "flux", "class_name": "ReduxImageEncoder", "layout": "diffusers"}
    entry = next((each for each in adapter_entries().values() if Path(each.file).name == path.name), None)
    try:
        layers = adapter_layers.read_layers(path)
    except UsageError:
        width = next((shape[1] for name, shape in content.shapes.items() if name.endswith("to_k_ip.weight")), 0)
        return {"architecture": _ARCHITECTURES.get(width, UNKNOWN), "variant": "face-id"}
    except InputFileError:  # an adapter of another family
        return {}
    variant = "plus" if layers.reads_hidden_states else "base"
    return {
        "architecture": _ARCHITECTURES.get(layers.text_width, UNKNOWN),
        "variant": entry.variant if entry else variant,
        "layers": layers.num_layers,
    }
