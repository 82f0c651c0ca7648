"""Whether a model can take a LoRA: every layer that it changes is there, and of the size that it expects."""

import re
from collections.abc import Mapping
from functools import lru_cache

from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel, diffusers_folder, parse_reference, single_file_config
from artgen.registry.lora.keys import from_ldm_key, kohya_key
from artgen.registry.lora.lora_file import ARCHITECTURE_NAMES, LayerShape, LoraFile
from artgen.registry.safetensors_header import read_header

SUPPORTED_ARCHITECTURES = ("sd1", "sd2", "sdxl", "sd3")
_LDM_PREFIX = "model.diffusion_model."
_MISMATCH_HINT = "Choose a LoRA and a --model that belong together; `artgen info FILE` tells what a LoRA is for."

LayerShapes = Mapping[str, tuple[int, ...]]


def check_compatible(lora: LoraFile, model: ResolvedModel) -> None:
    """Holds a LoRA to a model, by names and shapes from the headers of both.

    The denoiser of a single-file Stable Diffusion 3 checkpoint, whose layers are cut differently, is not looked at
    here; the engine finds what does not fit when it attaches the LoRA.

    Raises:
        ModelUnavailableError: it was made for another architecture, or for other sizes.
    """
    _check_architecture(lora, model.short_name, model.architecture)
    _check_layers(lora, model)


def check_architecture(lora: LoraFile, model_name: str) -> None:
    """Holds a LoRA to what is known of a model by its name, so that none is downloaded in vain.

    Raises:
        ModelUnavailableError: it was made for another architecture, or the name means nothing.
        UsageError, RefusedError, InputFileError: as `registry.parse`.
    """
    card = parse_reference(model_name).info
    if card is not None and card.architecture is not None:
        _check_architecture(lora, card.name, card.architecture)


def _check_architecture(lora: LoraFile, model_name: str, architecture: str) -> None:
    ours, theirs = ARCHITECTURE_NAMES.get(architecture), ARCHITECTURE_NAMES.get(lora.architecture)
    if architecture not in SUPPORTED_ARCHITECTURES:
        raise ModelUnavailableError(
            f"{model_name} takes no LoRA: it is {ours or 'of another architecture'}.",
            "LoRAs work with Stable Diffusion 1, 2, XL and 3.",
        )
    if theirs and lora.architecture != architecture:
        raise ModelUnavailableError(f"{lora.path.name} was made for {theirs}; {model_name} is {ours}.", _MISMATCH_HINT)
    if lora.format == "kohya" and architecture == "sd3":
        raise ModelUnavailableError(
            f"{lora.path.name} is in kohya's form, which diffusers does not read for {ours}.",
            "Use the same LoRA in diffusers' form.",
        )


def _check_layers(lora: LoraFile, model: ResolvedModel) -> None:
    known = model_layer_shapes(model)
    steps = _layers_per_block(known.get("unet", {}))
    for layer, shape in lora.layers.items():
        if layer.component not in known:
            if layer.component == "transformer" and model.is_file:
                continue
            said = f"it changes a {layer.component}, which the model does not have"
            raise ModelUnavailableError(f"{lora.path.name} does not fit {model.short_name}: {said}.", _MISMATCH_HINT)
        name = from_ldm_key(layer.name, steps) if layer.component == "unet" else layer.name
        weight = known[layer.component].get(name)
        if weight is None:
            said = f"it changes {layer.component} {layer.name}, which the model does not have"
        elif (shape.outputs, shape.inputs, *shape.kernel) != weight:
            said = f"{layer.component} {layer.name} is {_format_layer_shape(shape)} there and {_format_shape(weight)} in the model"
        else:
            continue
        raise ModelUnavailableError(f"{lora.path.name} does not fit {model.short_name}: {said}.", _MISMATCH_HINT)


def _format_layer_shape(shape: LayerShape) -> str:
    return _format_shape((shape.outputs, shape.inputs, *shape.kernel))


def _format_shape(weight: tuple[int, ...]) -> str:
    return "x".join(map(str, weight))


@lru_cache(maxsize=8)
def model_layer_shapes(model: ResolvedModel) -> Mapping[str, LayerShapes]:
    """Shapes of the weights that a LoRA can change, by part of the pipeline and name with underscores."""
    shapes = {name: shape for file in model.weight_files() for name, (_, shape) in read_header(file).tensors.items()}
    config = single_file_config(model) if model.is_file else model.path
    found: dict[str, LayerShapes] = {}
    if not model.is_file:
        part = "transformer" if model.architecture == "sd3" else "unet"
        found[part] = {_layer_name_of_tensor(name): shape for name, shape in shapes.items() if len(shape) in (2, 4)}
    elif model.architecture != "sd3":
        found["unet"] = _unet_shapes_from_checkpoint(shapes)
    for part in ("text_encoder", "text_encoder_2"):
        settings = diffusers_folder.read_optional_json(config / part / "config.json")
        if "hidden_size" in settings:
            found[part] = _clip_layer_shapes(settings)
    return found


def _layer_name_of_tensor(tensor: str) -> str:
    return kohya_key(tensor.removesuffix(".weight"))


def _unet_shapes_from_checkpoint(shapes: LayerShapes) -> LayerShapes:
    """A UNet's layers from the original code's checkpoint, under diffusers' names."""
    inner = {
        _layer_name_of_tensor(name.removeprefix(_LDM_PREFIX)): shape
        for name, shape in shapes.items()
        if name.startswith(_LDM_PREFIX) and len(shape) in (2, 4)
    }
    downs = [int(found[1]) for name in inner if (found := re.fullmatch(r"input_blocks_(\d+)_0_op", name))]
    layers = min(downs) - 1 if downs else 2
    return {from_ldm_key(name, layers): shape for name, shape in inner.items()}


def _layers_per_block(unet: LayerShapes) -> int:
    found = [int(match[1]) for name in unet if (match := re.match(r"down_blocks_0_resnets_(\d+)_conv1", name))]
    return max(found, default=1) + 1


def _clip_layer_shapes(config: Mapping[str, int]) -> LayerShapes:
    """The linear layers of a CLIP text encoder (transformers' `CLIPTextModel`), from its configuration."""
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    found: dict[str, tuple[int, ...]] = {"text_projection": (int(config.get("projection_dim", width)), width)}
    for number in range(int(config["num_hidden_layers"])):
        start = f"encoder_layers_{number}"
        found |= {f"{start}_self_attn_{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        found |= {f"{start}_mlp_fc1": (inner, width), f"{start}_mlp_fc2": (width, inner)}
    return found
