"""Whether a model can take a LoRA: every layer that it changes is there, and of the size that it expects."""

import re
from collections.abc import Mapping
from functools import lru_cache

from artgen.adapters.naming import flat, from_original
from artgen.adapters.reading import ARCHITECTURES, Adapter, Shape
from artgen.checkpoints import read_header
from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel, folders, parse, single_file_config

SUPPORTED = ("sd1", "sd2", "sdxl", "sd3")
_ORIGINAL = "model.diffusion_model."
_CHOOSE = "Choose a LoRA and a --model that belong together; `artgen info FILE` tells what a LoRA is for."

Layers = Mapping[str, tuple[int, ...]]


def check_fit(adapter: Adapter, model: ResolvedModel) -> None:
    """Holds a LoRA to a model, by names and shapes from the headers of both.

    The denoiser of a single-file Stable Diffusion 3 checkpoint, whose layers are cut differently, is not looked at
    here; the engine finds what does not fit when it attaches the LoRA.

    Raises:
        ModelUnavailableError: it was made for another architecture, or for other sizes.
    """
    _check_architecture(adapter, model.label, model.architecture)
    _check_layers(adapter, model)


def check_name(adapter: Adapter, name: str) -> None:
    """Holds a LoRA to what is known of a model by its name, so that none is downloaded in vain.

    Raises:
        ModelUnavailableError: it was made for another architecture, or the name means nothing.
        UsageError, RefusedError, InputFileError: as `registry.parse`.
    """
    card = parse(name).card
    if card is not None and card.architecture is not None:
        _check_architecture(adapter, card.name, card.architecture)


def _check_architecture(adapter: Adapter, model: str, architecture: str) -> None:
    ours, theirs = ARCHITECTURES.get(architecture), ARCHITECTURES.get(adapter.architecture)
    if architecture not in SUPPORTED:
        raise ModelUnavailableError(
            f"{model} takes no LoRA: it is {ours or 'of another architecture'}.",
            "LoRAs work with Stable Diffusion 1, 2, XL and 3.",
        )
    if theirs and adapter.architecture != architecture:
        raise ModelUnavailableError(f"{adapter.path.name} was made for {theirs}; {model} is {ours}.", _CHOOSE)
    if adapter.format == "kohya" and architecture == "sd3":
        raise ModelUnavailableError(
            f"{adapter.path.name} is in kohya's form, which diffusers does not read for {ours}.",
            "Use the same LoRA in diffusers' form.",
        )


def _check_layers(adapter: Adapter, model: ResolvedModel) -> None:
    known = layers_of(model)
    steps = _layers_per_block(known.get("unet", {}))
    for layer, shape in adapter.layers.items():
        if layer.component not in known:
            if layer.component == "transformer" and model.is_file:
                continue
            said = f"it changes a {layer.component}, which the model does not have"
            raise ModelUnavailableError(f"{adapter.path.name} does not fit {model.label}: {said}.", _CHOOSE)
        name = from_original(layer.name, steps) if layer.component == "unet" else layer.name
        weight = known[layer.component].get(name)
        if weight is None:
            said = f"it changes {layer.component} {layer.name}, which the model does not have"
        elif (shape.outputs, shape.inputs, *shape.kernel) != weight:
            said = f"{layer.component} {layer.name} is {_size(shape)} there and {_size_of(weight)} in the model"
        else:
            continue
        raise ModelUnavailableError(f"{adapter.path.name} does not fit {model.label}: {said}.", _CHOOSE)


def _size(shape: Shape) -> str:
    return _size_of((shape.outputs, shape.inputs, *shape.kernel))


def _size_of(weight: tuple[int, ...]) -> str:
    return "x".join(map(str, weight))


@lru_cache(maxsize=8)
def layers_of(model: ResolvedModel) -> Mapping[str, Layers]:
    """Shapes of the weights that a LoRA can change, by part of the pipeline and name with underscores."""
    shapes = {name: shape for file in model.weights() for name, (_, shape) in read_header(file).tensors.items()}
    config = single_file_config(model) if model.is_file else model.path
    found: dict[str, Layers] = {}
    if not model.is_file:
        part = "transformer" if model.architecture == "sd3" else "unet"
        found[part] = {_layer_name(name): shape for name, shape in shapes.items() if len(shape) in (2, 4)}
    elif model.architecture != "sd3":
        found["unet"] = _from_checkpoint(shapes)
    for part in ("text_encoder", "text_encoder_2"):
        settings = folders.optional_json(config / part / "config.json")
        if "hidden_size" in settings:
            found[part] = _clip(settings)
    return found


def _layer_name(tensor: str) -> str:
    return flat(tensor.removesuffix(".weight"))


def _from_checkpoint(shapes: Layers) -> Layers:
    """A UNet's layers from the original code's checkpoint, under diffusers' names."""
    inner = {
        _layer_name(name.removeprefix(_ORIGINAL)): shape
        for name, shape in shapes.items()
        if name.startswith(_ORIGINAL) and len(shape) in (2, 4)
    }
    downs = [int(found[1]) for name in inner if (found := re.fullmatch(r"input_blocks_(\d+)_0_op", name))]
    layers = min(downs) - 1 if downs else 2
    return {from_original(name, layers): shape for name, shape in inner.items()}


def _layers_per_block(unet: Layers) -> int:
    found = [int(match[1]) for name in unet if (match := re.match(r"down_blocks_0_resnets_(\d+)_conv1", name))]
    return max(found, default=1) + 1


def _clip(config: Mapping[str, int]) -> Layers:
    """The linear layers of a CLIP text encoder (transformers' `CLIPTextModel`), from its configuration."""
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    found: dict[str, tuple[int, ...]] = {"text_projection": (int(config.get("projection_dim", width)), width)}
    for number in range(int(config["num_hidden_layers"])):
        start = f"encoder_layers_{number}"
        found |= {f"{start}_self_attn_{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        found |= {f"{start}_mlp_fc1": (inner, width), f"{start}_mlp_fc2": (width, inner)}
    return found
