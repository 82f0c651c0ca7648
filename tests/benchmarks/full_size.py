"""Build full-size models with random weights for benchmarks and tests, without a download or a license.

The sizes come from artgen's bundled configurations. Weights are normal with standard deviation 1/sqrt(inputs), so
that activations keep their scale from layer to layer. They are not zero, because some CPUs are faster with zeros. The
images of such a model are noise and take as long as real images.
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
    """Build a model folder in the layout of diffusers, one component at a time to limit memory.

    Args:
        architecture: name of a bundled configuration, such as `sd1` or `sdxl`.
        folder: folder to create. `model_index.json` is written last, so that a folder with it is complete.
        dtype: dtype of the weights in the files.
    """
    source = single_file_configs.build_config_folder(architecture, single_file_configs.shipped_config(architecture))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model_index.json"))
    index = json.loads((source / "model_index.json").read_text("utf-8"))
    for number, (name, entry) in enumerate(sorted(index.items())):
        cls = getattr(LIBRARIES.get(entry[0] or ""), entry[1] or "", None) if isinstance(entry, list) else None
        if cls is not None and issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel):
            build_component(cls, folder / name, dtype, seed=number).save_pretrained(folder / name)
    # The inpainting pipeline of diffusers reads the version, which every folder saved by diffusers has.
    complete = {**index, "_diffusers_version": diffusers.__version__}
    (folder / "model_index.json").write_text(json.dumps(complete, indent=2), "utf-8")
    return folder


def build_component(cls: Any, folder: Path, dtype: torch.dtype, seed: int) -> torch.nn.Module:
    """Build a component with random weights from the `config.json` in `folder`."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    with torch.device("meta"):  # Skips the slow default initialization.
        if issubclass(cls, diffusers.ModelMixin):
            module: torch.nn.Module = cls.from_config(config)
        else:
            module = cls(cls.config_class.from_dict(config))
    module = module.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                std = 1 / math.sqrt(weight[0].numel())
                weight.copy_(torch.empty(weight.shape).normal_(0, std, generator=generator))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in module.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return module
