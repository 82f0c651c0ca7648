"""Check that a model supports a LoRA: the model has all layers that the LoRA changes, with the same shapes."""

import re
from collections.abc import Mapping
from functools import lru_cache

from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel, diffusers_folder, parse_reference, single_file_config
from artgen.registry.checkpoint_content import FileContent, component_of, read_content
from artgen.registry.denoiser_files import ORIGINAL_PREFIX
from artgen.registry.lora.lora_file import LoraFile
from artgen.registry.lora_layers.keys import DENOISER, LayerKey, from_ldm_key, kohya_key
from artgen.registry.lora_layers.original_names import LayerShapes, Target, find_targets
from artgen.registry.lora_layers.shapes import LayerShape
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.pipelines import architecture_entry, pipeline_entries
from artgen.registry.safetensors_header import MAX_NAME_LENGTH, read_header

SAFETENSORS_SUFFIX = ".safetensors"
_MISMATCH_HINT = (
    "Choose a LoRA and a --model of the same architecture; `artgen info FILE` shows the architecture of a LoRA."
)


def check_compatible(lora: LoraFile, model: ResolvedModel) -> None:
    """Compare the layer names and shapes in the headers of a LoRA and a model.

    A LoRA whose layers the model has is compatible. The layers are not compared before the weights of the model are
    downloaded. The transformer of a single-file checkpoint is not compared, because its layers are split in another
    way; the engine checks these layers when it loads the LoRA.

    Raises:
        ModelUnavailableError: artgen does not support LoRAs with the model, or the LoRA is for another architecture or
            for other layer shapes.
    """
    entry = model.pipeline_entry
    _check_feature(model.short_name, entry)
    layers = model_layer_shapes(model) if model.remote is None else {}
    reasons = (
        mismatch_reason(layer, shape, layers)
        for layer, shape in lora.layers.items()
        if model.remote is None and (layer.component != DENOISER or DENOISER in layers)
    )
    if reason := next(filter(None, reasons), ""):
        check_architecture(lora, model.short_name, entry)
        raise ModelUnavailableError(
            f"Cannot use '{lora.path.name}' with '{model.short_name}': {reason}.", _MISMATCH_HINT
        )
    if DENOISER not in layers:
        check_architecture(lora, model.short_name, entry)


def check_named_model(lora: LoraFile, model_name: str) -> None:
    """Compare the architecture of a LoRA with the architecture of a model in the catalog, before it is downloaded.

    Raises:
        ModelUnavailableError: the LoRA is for another architecture, or the model's name is unknown.
        UsageError, RefusedError, InputFileError: see `registry.parse_reference`.
    """
    info = parse_reference(model_name).info
    if info is not None and info.family is not None:
        check_architecture(lora, info.name, pipeline_entries()[info.family])


def check_architecture(lora: LoraFile, model_name: str, entry: PipelineEntry) -> None:
    """Compare the architecture of a LoRA with the architecture of a model.

    Args:
        lora: the LoRA.
        model_name: name of the model for messages.
        entry: entry of the model in the table of pipelines.

    Raises:
        ModelUnavailableError: artgen does not support LoRAs with the model, or the LoRA is for another architecture.
    """
    _check_feature(model_name, entry)
    if lora.architectures and entry.architecture not in lora.architectures:
        raise ModelUnavailableError(
            f"Cannot use '{lora.path.name}': it is a LoRA for {architecture_title(lora.architecture)}, and "
            f"'{model_name}' is {architecture_title(entry.architecture)}.",
            _MISMATCH_HINT,
        )


def _check_feature(model_name: str, entry: PipelineEntry) -> None:
    if not entry.supports("lora"):
        supported = dict.fromkeys(
            architecture_title(each.architecture) for each in pipeline_entries().values() if each.supports("lora")
        )
        raise ModelUnavailableError(
            f"Cannot use a LoRA with '{model_name}': artgen does not support LoRAs with {entry.title} models.",
            f"LoRAs work with {', '.join(supported)}.",
        )


def architecture_title(architecture: str) -> str:
    """Return the name of an architecture for users."""
    entry = architecture_entry(architecture)
    return entry.title if entry else architecture.replace("-", " ").title()


def mismatch_reason(layer: LayerKey, shape: LayerShape, layers: Mapping[str, LayerShapes]) -> str:
    """Return why a model cannot have an adapter of a layer; empty if it can.

    Args:
        layer: layer of the adapter.
        shape: shape of the adapter.
        layers: layers of the model, by component.
    """
    name = layer.name[:MAX_NAME_LENGTH]
    if layer.component not in layers:
        return f"it changes the {layer.component} in a way that diffusers does not support for this model"
    targets = layer_targets(layer, shape.outputs, layers[layer.component])
    if targets is None:
        return f"it changes the layer {name} of the {layer.component}, which the model does not have"
    weights = [layers[layer.component][target.name] for target in targets]
    expected = (sum(weight[0] for weight in weights), *weights[0][1:])
    if not shape.fits(expected):
        shapes = f"{_format_shape(shape.weight)} instead of {_format_shape(expected)}"
        return f"the shape of {layer.component} {name} is {shapes}"
    if shape.dora_axis == "inputs" and shape.magnitudes != expected[1]:
        return f"the DoRA of {name} has {shape.magnitudes} magnitudes instead of {expected[1]}"
    if shape.dora_axis == "inputs" and len(targets) > 1:
        return f"the DoRA of {name} has magnitudes for the inputs of several layers, which artgen does not support"
    return ""


def layer_targets(layer: LayerKey, outputs: int, layers: LayerShapes) -> tuple[Target, ...] | None:
    """Return the layers of a component that a layer of an adapter changes; None if the component lacks them.

    Args:
        layer: layer of the adapter.
        outputs: rows of the adapter's weight.
        layers: layers of the component of the model.
    """
    if layer.component != DENOISER:
        return (Target(layer.name, (0, outputs)),) if layer.name in layers else None
    return find_targets(layer.name, outputs, layers, _layers_per_block(layers))


def _format_shape(weight: tuple[int, ...]) -> str:
    return "x".join(map(str, weight))


@lru_cache(maxsize=8)
def model_layer_shapes(model: ResolvedModel) -> Mapping[str, LayerShapes]:
    """Return the shapes of the weights that a LoRA can change, by component and by layer name with underscores."""
    config = single_file_config(model) if model.is_file else model.path
    found: dict[str, LayerShapes] = {}
    if not model.is_file:
        found[DENOISER] = _denoiser_shapes(model)
    elif model.pipeline_entry.denoiser == "unet" and model.path.suffix.lower() == SAFETENSORS_SUFFIX:
        found[DENOISER] = _unet_shapes_from_file(read_content(model.path))
    for text_encoder in ("text_encoder", "text_encoder_2"):
        text_config = diffusers_folder.read_optional_config(config / text_encoder / "config.json")
        if "CLIP" in str(text_config.get("architectures", "CLIP")) and "hidden_size" in text_config:
            found[text_encoder] = _clip_layer_shapes(text_config)
    return found


def _denoiser_shapes(model: ResolvedModel) -> LayerShapes:
    return {
        _layer_name_of_tensor(name): shape
        for file in model.weight_files()
        for name, (_, shape) in read_header(file).tensors.items()
        if name.endswith(".weight") and len(shape) in (2, 4)
    }


def _layer_name_of_tensor(tensor: str) -> str:
    return kohya_key(tensor.removesuffix(".weight"))


def _unet_shapes_from_file(content: FileContent) -> LayerShapes:
    """Return the layers of the UNet of a single file, with diffusers' names."""
    unet = {
        _layer_name_of_tensor(name.removeprefix(ORIGINAL_PREFIX)): shape
        for name, shape in content.shapes.items()
        if component_of(name) is None and len(shape) in (2, 4)
    }
    if content.denoiser and content.denoiser.layout == "diffusers":
        return unet
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
