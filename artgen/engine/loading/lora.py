"""Load, re-weight and unload LoRAs on a cached pipeline.

diffusers adds a LoRA next to the layers and does not change their weights. After a LoRA is unloaded, the model is
bit-identical. LoRAs are never fused.
"""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.adapter_weights import WeightChange
from artgen.engine.loading.components import denoiser_of
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.registry.lora import LORA_COMPONENTS, LoraFile, LoraRequest, layer_targets, mismatch_reason
from artgen.registry.lora.peft_config import peft_multiplier
from artgen.registry.lora_layers.keys import DENOISER, LayerKey, kohya_key, parse_tensor_key
from artgen.registry.lora_layers.original_names import Target
from artgen.system.files import file_identity

ActiveLoras = tuple[tuple[str, float, float | None, bool], ...]
"""Hash, scales, and whether the LoRA changes text encoders, for each LoRA."""

LORA_KEY_NAMES = {False: ("lora_A", "lora_B"), True: ("lora_linear_layer.down", "lora_linear_layer.up")}
"""Names of the two matrices in diffusers: of a denoiser (False) and of a text encoder (True)."""

StateDict = dict[str, torch.Tensor]

_active_loras: "weakref.WeakKeyDictionary[Any, ActiveLoras]" = weakref.WeakKeyDictionary()


def active_loras(pipe: Any) -> ActiveLoras:
    """Return the LoRAs on a pipeline. Pipelines of other tasks share its components and LoRAs."""
    return _active_loras.get(denoiser_of(pipe), ())


def active_text_encoder_loras(pipe: Any) -> ActiveLoras:
    """Return the active LoRAs that change text encoders."""
    return tuple(each for each in active_loras(pipe) if each[3])


def set_loras(pipe: Any, loras: Sequence[LoraRequest], device_config: DeviceConfig, offload: str | None) -> None:
    """Set the active LoRAs of a pipeline. Reuse LoRAs that are already loaded; ignore LoRAs with the scale 0.

    Args:
        pipe: the cached pipeline.
        loras: LoRAs in order; an empty sequence unloads all.
        device_config, offload: placement of the pipeline. diffusers removes the offloading hooks when it loads a LoRA.

    Raises:
        ModelUnavailableError: diffusers cannot load a LoRA, or ignores some of its tensors. No LoRA is active then.
    """
    loras = [each for each in loras if (each.scale, each.text_scale or 0.0) != (0.0, 0.0)]
    requested = tuple(
        (each.file.sha256, each.scale, each.text_scale, each.file.changes_text_encoders) for each in loras
    )
    before = active_loras(pipe)
    if requested == before:
        return
    loaded_models.unload_after_command()  # the rounding can differ after LoRAs were removed
    offloaded = offload in ("model", "sequential")
    if offloaded:
        pipe.remove_all_hooks()
    try:
        with pipeline_cache.silence_libraries():
            _update(pipe, loras, {digest for digest, *_ in before})
    except BaseException:
        _unload_all(pipe)
        raise
    finally:
        if offloaded:
            offloading.apply_offload(pipe, device_config, offload)
    _active_loras[denoiser_of(pipe)] = requested


def _unload_all(pipe: Any) -> None:
    _active_loras.pop(denoiser_of(pipe), None)
    with pipeline_cache.silence_libraries():
        pipe.unload_lora_weights()


def _update(pipe: Any, loras: Sequence[LoraRequest], loaded_hashes: set[str]) -> None:
    names = [each.file.sha256 for each in loras]
    if not names:
        _unload_all(pipe)
        return
    if not loaded_hashes.issubset(names):
        # After `delete_adapters`, the layers that only the deleted LoRA changes keep an empty wrapper.
        _unload_all(pipe)
        loaded_hashes = set()
    for each in loras:
        if each.file.sha256 not in loaded_hashes:
            _load_lora(pipe, each.file)
    pipe.set_adapters(names, [_component_scales(pipe, each) for each in loras])
    # Loading a LoRA can change the training mode of a component.
    for component in LORA_COMPONENTS:
        if (module := getattr(pipe, component, None)) is not None:
            module.eval()


def _component_scales(pipe: Any, lora: LoraRequest) -> float | dict[str, float]:
    """Return the scale of a LoRA, or its scale by component if they differ."""
    if lora.text_scale is None:
        return lora.scale
    components = (component for component in LORA_COMPONENTS if getattr(pipe, component, None) is not None)
    return {each: lora.text_scale if each.startswith("text") else lora.scale for each in components}


def _load_lora(pipe: Any, lora_file: LoraFile) -> None:
    """Load a LoRA and check that no tensor is missing: diffusers only logs tensors that it ignores."""
    try:
        state_dict = load_file(lora_file.path)
        layers = _read_layers(pipe, lora_file, state_dict)
        pipe.load_lora_weights(_to_diffusers_keys(layers), adapter_name=lora_file.sha256)
        unmatched = _set_layers(pipe, lora_file.sha256, layers)
        if file_identity(lora_file.path) != lora_file.identity:
            raise ValueError("the file changed while it was used.")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _attach_error(lora_file, first_line(error)) from error
    if unmatched:
        reason = f"diffusers ignored {len(unmatched)} of its layers; the first is {unmatched[0]}."
        raise _attach_error(lora_file, reason)


def _attach_error(lora_file: LoraFile, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the LoRA '{lora_file.path.name}': {reason}",
        "Use a LoRA in the format of diffusers or kohya.",
    )


@dataclass(frozen=True)
class _AdapterLayer:
    """Store the adapter of one layer of a pipeline.

    Attributes:
        key: layer of the pipeline.
        path: path of the module in its component.
        target: rows of the factors' product that change the layer.
        factors: tensors by factor name, without alpha.
        multiplier: alpha / rank; 1 if the file has no alpha.
        weight: shape of the layer's weight.
    """

    key: LayerKey
    path: str
    target: Target
    factors: dict[str, torch.Tensor]
    multiplier: float
    weight: tuple[int, ...]

    @property
    def is_special(self) -> bool:
        """Return whether diffusers does not load the adapter of this layer."""
        return self.factors.keys() != {"down", "up"} or self.factors["down"].dim() != len(self.weight)

    @property
    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two matrices for diffusers; placeholders of rank 1 if it does not load the adapter."""
        if not self.is_special:
            up = self.factors["up"][slice(*self.target.rows)]
            return self.factors["down"], torch.cat(up.chunk(2)[::-1]) if self.target.swapped else up
        outputs, *inputs = self.weight
        return torch.zeros(1, *inputs), torch.zeros(outputs, 1, *[1] * (len(inputs) - 1))


def _read_layers(pipe: Any, lora_file: LoraFile, state_dict: StateDict) -> list[_AdapterLayer]:
    """Return the adapter of each layer of the pipeline that the file changes.

    Raises:
        ValueError: the pipeline does not have a layer, or the layer has another shape.
    """
    factors: dict[LayerKey, dict[str, torch.Tensor]] = {}
    for name, values in state_dict.items():
        if tensor := parse_tensor_key(name):
            factors.setdefault(tensor.layer, {})[tensor.factor] = values
    paths = _modules_by_layer(pipe)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, (_, module) in paths.items():
        if isinstance(
            layer := module.get_base_layer() if hasattr(module, "get_base_layer") else module, torch.nn.Linear
        ):
            # The weight of a quantized layer has another shape.
            shapes.setdefault(key.component, {})[key.name] = (layer.out_features, layer.in_features)
        elif isinstance(layer, torch.nn.Conv2d):
            shapes.setdefault(key.component, {})[key.name] = tuple(layer.weight.shape)
    found = []
    for layer, shape in lora_file.layers.items():
        if reason := mismatch_reason(layer, shape, shapes):
            raise ValueError(f"{reason}.")
        tensors = factors[layer]
        alpha = tensors.pop("alpha", None)
        for target in layer_targets(layer, shape.outputs, shapes[layer.component]) or ():
            key = LayerKey(layer.component, target.name)
            weight = shapes[layer.component][target.name]
            if shape.dora_axis and paths[key][1].weight.numel() != math.prod(weight):
                raise ValueError(f"a DoRA needs weights that are not quantized, and {target.name} is quantized.")
            multiplier = _multiplier(lora_file, paths[key][0], alpha, shape.rank)
            found.append(_AdapterLayer(key, paths[key][0], target, tensors, multiplier, weight))
    return found


def _multiplier(lora_file: LoraFile, path: str, alpha: torch.Tensor | None, rank: int | None) -> float:
    """Return alpha / rank of a layer; 1 if the file has no alpha, or if a LoKr has no low-rank factor."""
    if rank is None:
        return 1.0
    if alpha is not None:
        return float(alpha) / rank
    multiplier = peft_multiplier(lora_file.peft_config, path, rank)
    return 1.0 if multiplier is None else multiplier


def _to_diffusers_keys(layers: Sequence[_AdapterLayer]) -> StateDict:
    """Rename the tensors of a LoRA to names that diffusers always supports; `_set_layers` sets the alphas.

    The conversion of kohya files in diffusers 0.42 (`convert_state_dict_to_diffusers`) loses the alphas of text
    encoders whose module names are shorter in transformers 5, and its support of a text encoder depends on the layers.
    Its conversion of Flux files needs layers of the published sizes.
    """
    renamed = {}
    for layer in layers:
        names = LORA_KEY_NAMES[layer.key.component.startswith("text")]
        for name, values in zip(names, layer.matrices, strict=True):
            renamed[f"{layer.path}.{name}.weight"] = values
    return renamed


def _set_layers(pipe: Any, adapter: str, layers: Sequence[_AdapterLayer]) -> list[str]:
    """Set the alphas and the special layers of a loaded LoRA.

    Returns:
        The names of the layers that the pipeline lacks or has with other values.
    """
    modules = _modules_by_layer(pipe)
    unmatched = []
    for layer in layers:
        module = modules[layer.key][1]
        if adapter not in getattr(module, "lora_A", {}):
            unmatched.append(layer.key.name)
            continue
        loaded = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        if not all(map(_equals, loaded, layer.matrices)):
            unmatched.append(layer.key.name)
        if layer.is_special:
            module.lora_variant[adapter] = WeightChange(layer.factors, layer.multiplier, layer.target, layer.weight)
        module.lora_alpha[adapter] = module.r[adapter] * (1.0 if layer.is_special else layer.multiplier)
    return unmatched


def _equals(loaded: torch.Tensor, values: torch.Tensor) -> bool:
    return loaded.shape == values.shape and torch.equal(loaded.detach().cpu(), values.to(loaded.dtype))


def _modules_by_layer(pipe: Any) -> dict[LayerKey, tuple[str, Any]]:
    """Return the path (with the component) and the module of each layer of a pipeline."""
    return {
        LayerKey(DENOISER if component in ("unet", "transformer") else component, kohya_key(name)): (
            f"{component}.{name}", module
        )
        for component in LORA_COMPONENTS
        for name, module in (getattr(pipe, component, None) or torch.nn.Module()).named_modules()
    }  # fmt: skip
