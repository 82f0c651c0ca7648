"""Build upscaling networks at tiny sizes with random weights, and rename the tensors of RRDBNet."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution
from transformers.models.swin2sr.image_processing_pil_swin2sr import Swin2SRImageProcessorPil

from artgen.engine.upscaling.esrgan import RRDBNet, SRVGGNetCompact

Tensors = dict[str, torch.Tensor]


def rrdbnet(upconvs: int = 2, unshuffle: int = 1, blocks: int = 1) -> Tensors:
    """Return the tensors of an RRDBNet with the names of Real-ESRGAN. Most output values are between 0 and 1."""
    torch.manual_seed(0)
    module = RRDBNet(8, blocks, 4, upconvs, unshuffle)
    return _centered(module, "conv_last.bias")


def compact(scale: int = 2, convs: int = 3) -> Tensors:
    """Return the tensors of an SRVGGNetCompact."""
    torch.manual_seed(0)
    return _centered(SRVGGNetCompact(8, convs, scale), "")


def _centered(module: torch.nn.Module, bias: str) -> Tensors:
    tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for name, value in tensors.items():
        if value.ndim == 4:
            value *= 1.5
        if name == bias:
            value += 0.5
    return tensors


def first_release(tensors: Tensors) -> Tensors:
    """Return the tensors of an RRDBNet with the names of the first release of ESRGAN."""
    blocks = 1 + max(int(match[1]) for name in tensors if (match := re.match(r"body\.(\d+)", name)))
    upconvs = sum(name.startswith("conv_up") and name.endswith("weight") for name in tensors)
    layers = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    layers |= {f"conv_up{index + 1}": f"model.{3 * index + 3}" for index in range(upconvs)}
    layers |= {"conv_hr": f"model.{3 * upconvs + 2}", "conv_last": f"model.{3 * upconvs + 4}"}
    renamed = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        inner = re.sub(r"body\.(\d+)\.rdb(\d)\.(conv\d)", r"model.1.sub.\1.RDB\2.\3.0", layer)
        renamed[f"{layers.get(layer, inner)}.{kind}"] = value
    return renamed


def later_release(tensors: Tensors) -> Tensors:
    """Return the tensors of an RRDBNet with the names of the later releases of ESRGAN."""
    renames = (
        (r"^body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2"),
        (r"^conv_body", "trunk_conv"),
        (r"^conv_up(\d)", r"upconv\1"),
        (r"^conv_hr", "HRconv"),
    )
    renamed = {}
    for name, value in tensors.items():
        for pattern, text in renames:
            name = re.sub(pattern, text, name)
        renamed[name] = value
    return renamed


def save(path: Path, tensors: Tensors) -> Path:
    """Save tensors as a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def swin2sr(folder: Path, scale: int = 2, upsampler: str = "pixelshuffle") -> Path:
    """Save a Swin2SR with two blocks and its image processor."""
    torch.manual_seed(0)
    config = Swin2SRConfig(
        embed_dim=16, depths=[2], num_heads=[2], window_size=8, image_size=32, upscale=scale, upsampler=upsampler,
        initializer_range=0.2, num_channels_out=3,
    )  # fmt: skip
    Swin2SRForImageSuperResolution(config).save_pretrained(folder)
    Swin2SRImageProcessorPil(size_divisor=8).save_pretrained(folder)
    return folder
