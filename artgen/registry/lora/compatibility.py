"""Check that a model supports a LoRA: the model has all layers that the LoRA changes, with the same shapes."""

import re
from collections.abc import Mapping
from functools import lru_cache

from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel, diffusers_folder, parse_reference, single_file_config
from artgen.registry.lora.keys import from_ldm_key, kohya_key
from artgen.registry.lora.lora_file import ARCHITECTURE_NAMES, LoraFile
from artgen.registry.safetensors_header import read_header

SUPPORTED_ARCHITECTURES = ("sd1", "sd2", "sdxl", "sd3")
_LDM_PREFIX = "model.diffusion_model."
_MISMATCH_HINT = (
    "Choose a LoRA and a --model of the same architecture; `artgen info FILE` shows the architecture of a LoRA."
)

LayerShapes = Mapping[str, tuple[int, ...]]


def check_compatible(lora: LoraFile, model: ResolvedModel) -> None:
    """Compare the layer names and shapes in the headers of a LoRA and a model.

    The denoiser of a single-file Stable Diffusion 3 checkpoint is not compared, because its layers are split in another
    way; the engine checks these layers when it loads the LoRA.

    Raises:
        ModelUnavailableError: the LoRA is for another architecture or for other layer shapes.
    """
    _check_architecture(lora, model.short_name, model.architecture)
    _check_layers(lora, model)


def check_architecture(lora: LoraFile, model_name: str) -> None:
    """Compare the architecture of a LoRA with the known architecture of a model, before the model is downloaded.

    Raises:
        ModelUnavailableError: the LoRA is for another architecture, or the model's name is unknown.
        UsageError, RefusedError, InputFileError: see `registry.parse_reference`.
    """
    info = parse_reference(model_name).info
    if info is not None and info.architecture is not None:
        _check_architecture(lora, info.name, info.architecture)


def _check_architecture(lora: LoraFile, model_name: str, architecture: str) -> None:
    model_architecture = ARCHITECTURE_NAMES.get(architecture)
    lora_architecture = ARCHITECTURE_NAMES.get(lora.architecture)
    if architecture not in SUPPORTED_ARCHITECTURES:
        raise ModelUnavailableError(
            f"Cannot use a LoRA with '{model_name}': the model is {model_architecture or 'of another architecture'}.",
            "LoRAs work with Stable Diffusion 1, 2, XL and 3.",
        )
    if lora_architecture and lora.architecture != architecture:
        raise ModelUnavailableError(
            f"Cannot use '{lora.path.name}': it is a LoRA for {lora_architecture}, and '{model_name}' is "
            f"{model_architecture}.",
            _MISMATCH_HINT,
        )
    if lora.format == "kohya" and architecture == "sd3":
        raise ModelUnavailableError(
            f"Cannot use '{lora.path.name}': diffusers does not read kohya's format for {model_architecture}.",
            "Use the same LoRA in diffusers' format.",
        )


def _check_layers(lora: LoraFile, model: ResolvedModel) -> None:
    model_shapes = model_layer_shapes(model)
    layers_per_block = _layers_per_block(model_shapes.get("unet", {}))
    for layer, shape in lora.layers.items():
        if layer.component == "transformer" and layer.component not in model_shapes and model.is_file:
            continue
        is_unet = layer.component == "unet"
        name = from_ldm_key(layer.name, layers_per_block) if is_unet else layer.name
        expected = model_shapes.get(layer.component, {}).get(name)
        actual = (shape.outputs, shape.inputs, *shape.kernel)
        if actual == expected:
            continue
        if layer.component not in model_shapes:
            reason = f"it changes a {layer.component}, which the model does not have"
        elif expected is None:
            reason = f"it changes {layer.component} {layer.name}, which the model does not have"
        else:
            shapes = f"{_format_shape(actual)} instead of {_format_shape(expected)}"
            reason = f"the shape of {layer.component} {layer.name} is {shapes}"
        raise ModelUnavailableError(
            f"Cannot use '{lora.path.name}' with '{model.short_name}': {reason}.", _MISMATCH_HINT
        )


def _format_shape(weight: tuple[int, ...]) -> str:
    return "x".join(map(str, weight))


@lru_cache(maxsize=8)
def model_layer_shapes(model: ResolvedModel) -> Mapping[str, LayerShapes]:
    """Return the shapes of the weights that a LoRA can change, by component and by layer name with underscores."""
    shapes = {name: shape for file in model.weight_files() for name, (_, shape) in read_header(file).tensors.items()}
    config = single_file_config(model) if model.is_file else model.path
    found: dict[str, LayerShapes] = {}
    if not model.is_file:
        denoiser = "transformer" if model.architecture == "sd3" else "unet"
        found[denoiser] = {_layer_name_of_tensor(name): shape for name, shape in shapes.items() if len(shape) in (2, 4)}
    elif model.architecture != "sd3":
        found["unet"] = _unet_shapes_from_checkpoint(shapes)
    for text_encoder in ("text_encoder", "text_encoder_2"):
        clip_config = diffusers_folder.read_optional_config(config / text_encoder / "config.json")
        if "hidden_size" in clip_config:
            found[text_encoder] = _clip_layer_shapes(clip_config)
    return found


def _layer_name_of_tensor(tensor: str) -> str:
    return kohya_key(tensor.removesuffix(".weight"))


def _unet_shapes_from_checkpoint(shapes: LayerShapes) -> LayerShapes:
    """Return a UNet's layers of a checkpoint in the original layout, with diffusers' names."""
    unet = {
        _layer_name_of_tensor(name.removeprefix(_LDM_PREFIX)): shape
        for name, shape in shapes.items()
        if name.startswith(_LDM_PREFIX) and len(shape) in (2, 4)
    }
    downsamplers = [int(match[1]) for name in unet if (match := re.fullmatch(r"input_blocks_(\d+)_0_op", name))]
    layers_per_block = min(downsamplers) - 1 if downsamplers else 2
    return {from_ldm_key(name, layers_per_block): shape for name, shape in unet.items()}


def _layers_per_block(unet: LayerShapes) -> int:
    resnets = [int(match[1]) for name in unet if (match := re.match(r"down_blocks_0_resnets_(\d+)_conv1", name))]
    return max(resnets, default=1) + 1


def _clip_layer_shapes(config: Mapping[str, int]) -> LayerShapes:
    """Return the linear layers of a CLIP text encoder (transformers' `CLIPTextModel`) from its configuration."""
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    found: dict[str, tuple[int, ...]] = {"text_projection": (int(config.get("projection_dim", width)), width)}
    for index in range(int(config["num_hidden_layers"])):
        start = f"encoder_layers_{index}"
        found |= {f"{start}_self_attn_{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        found |= {f"{start}_mlp_fc1": (inner, width), f"{start}_mlp_fc2": (width, inner)}
    return found
