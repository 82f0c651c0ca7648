"""Models of their real size with random weights, for measuring and for tests: no download, no licence.

Sizes come from artgen's own configurations. Weights are normal, 1/sqrt(inputs) wide, so that values keep their scale
from layer to layer; never zeros, with which some processors are faster than with real data. What such a model draws
is noise, at the cost of a picture.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from artgen.registry import single_file_configs

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def build(architecture: str, folder: Path, dtype: torch.dtype) -> Path:
    """A model folder in diffusers' layout; one component at a time, so that memory holds the largest alone.

    Args:
        architecture: the name of one of artgen's configurations, `sd1`, `sdxl`, ...
        folder: made; its last file is `model_index.json`, so that a folder that has it is whole.
        dtype: of the weights in the files.
    """
    source = single_file_configs.build_config_folder(architecture)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model_index.json"))
    index = json.loads((source / "model_index.json").read_text("utf-8"))
    for number, (name, entry) in enumerate(sorted(index.items())):
        cls = getattr(LIBRARIES.get(entry[0] or ""), entry[1] or "", None) if isinstance(entry, list) else None
        if cls is not None and issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel):
            component(cls, folder / name, dtype, seed=number).save_pretrained(folder / name)
    # diffusers' inpainting pipeline looks for the version, as every folder that diffusers saved has it.
    whole = {**index, "_diffusers_version": diffusers.__version__}
    (folder / "model_index.json").write_text(json.dumps(whole, indent=2), "utf-8")
    return folder


def component(cls: Any, folder: Path, dtype: torch.dtype, seed: int) -> torch.nn.Module:
    """One part of a model, as the `config.json` in `folder` describes it, with random weights."""
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    with torch.device("meta"):  # without the slow initialisation of its own
        if issubclass(cls, diffusers.ModelMixin):
            module: torch.nn.Module = cls.from_config(settings)
        else:
            module = cls(cls.config_class.from_dict(settings))
    module = module.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                wide = 1 / math.sqrt(weight[0].numel())
                weight.copy_(torch.empty(weight.shape).normal_(0, wide, generator=generator))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in module.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return module
