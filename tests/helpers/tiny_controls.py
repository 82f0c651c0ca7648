"""Build control nets at tiny sizes for the tiny models: real classes with random weights."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    FluxControlNetModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from PIL import Image

from artgen.jobs.control import ControlInput
from artgen.registry.control_nets import ControlNet
from artgen.registry.hashes import compute_sha256
from artgen.spec.control import parse_control

EMBEDDING_CHANNELS = (8, 16)
"""Two layers, because the tiny VAE halves the size once."""


def build(kind: str, model: Path, *, seed: int = 5, fresh: bool = False, **changes: Any) -> Any:
    """Return a net for a tiny model.

    Args:
        kind: sd1, sdxl, union, sd3, flux, or adapter (for sd1 and sdxl).
        model: folder of the tiny model.
        seed: seed of the weights.
        fresh: whether the zero convolutions stay zero, so that the net changes nothing.
        **changes: values of the net's configuration.
    """
    if kind == "adapter":
        torch.manual_seed(seed)
        sizes = {"adapter_type": "full_adapter", "channels": [8, 16], "downscale_factor": 2}
        if UNet2DConditionModel.load_config(model / "unet").get("addition_embed_type"):
            sizes = {"adapter_type": "full_adapter_xl", "channels": [8, 16, 16, 16], "downscale_factor": 4}
        return T2IAdapter(num_res_blocks=1, **sizes, **changes).eval()
    net = _from_denoiser(kind, model, seed, changes)
    if not fresh:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in net.named_parameters():
            if name.startswith("controlnet_"):
                torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return net.eval()


def _from_denoiser(kind: str, model: Path, seed: int, changes: dict[str, Any]) -> Any:
    torch.manual_seed(seed)
    if kind == "sd3":
        transformer = SD3Transformer2DModel.from_pretrained(model / "transformer")
        names = SD3ControlNetModel.load_config(model / "transformer").keys() & _parameters(SD3ControlNetModel)
        config = {name: transformer.config[name] for name in names}
        net = SD3ControlNetModel(**{**config, "num_layers": 1, **changes})
        torch.nn.init.zeros_(net.pos_embed_input.proj.weight)
        return net
    if kind == "flux":
        loaded = FluxControlNetModel.load_config(model / "transformer")
        names = _parameters(FluxControlNetModel) & loaded.keys()
        return FluxControlNetModel(**{name: loaded[name] for name in names}, **changes)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    if kind == "union":
        config = {name: unet.config[name] for name in _parameters(ControlNetUnionModel) & unet.config.keys()}
        sizes = {"num_trans_channel": EMBEDDING_CHANNELS[0], "num_trans_head": 2, "num_control_type": 6}
        return ControlNetUnionModel(
            **{
                **config,
                "conditioning_embedding_out_channels": EMBEDDING_CHANNELS,
                "num_proj_channel": EMBEDDING_CHANNELS[0],
                **sizes,
                **changes,
            }
        )
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=EMBEDDING_CHANNELS, **changes)


def with_attention_first(folder: Path, model: Path) -> Path:
    """Save a copy of the tiny sd1 model whose first block has attention, as the adapters of Stable Diffusion 1 need."""
    shutil.copytree(model, folder)
    torch.manual_seed(7)
    config = UNet2DConditionModel.load_config(model / "unet")
    blocks = {key: config[key][::-1] for key in ("down_block_types", "up_block_types")}
    UNet2DConditionModel.from_config({**config, **blocks}).save_pretrained(folder / "unet")
    return folder


def _parameters(cls: Any) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters) - {"self"}


def save(kind: str, folder: Path, model: Path, **settings: Any) -> Path:
    """Save a net for a tiny model in diffusers' layout; see `build` for the settings."""
    build(kind, model, **settings).save_pretrained(folder)
    return folder


def net_of(folder: Path, architecture: str, **changes: Any) -> ControlNet:
    """Return the description of a saved net, as the registry does."""
    config = json.loads((folder / "config.json").read_text())
    file = folder / "diffusion_pytorch_model.safetensors"
    class_name = config["_class_name"]
    modes = {"canny": 3, "depth": 1} if class_name == "ControlNetUnionModel" else {}
    values = {"kinds": ("canny",), "config": config, "files": (file,), "modes": modes, "sha256": compute_sha256(file)}
    return ControlNet(str(folder), folder, class_name, architecture, **{**values, **changes})


def control_map(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Return a random control map, mode RGB."""
    values = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(values.to(torch.uint8).numpy(), "RGB")


def control(net: ControlNet, text: str = "canny=map.png", *, image: Image.Image | None = None) -> ControlInput:
    """Return a control input whose map is complete.

    Args:
        net: the net.
        text: value of `--control`; the file is not read.
        image: the control map; the default is random.
    """
    image = image or control_map()
    return ControlInput(parse_control(text), image, net, map=image)
