"""Load, re-weight and unload LoRAs on a cached pipeline.

diffusers adds a LoRA next to the layers and does not change their weights. After a LoRA is unloaded, the model is
bit-identical. LoRAs are never fused.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from artgen.engine.loading import offload as offloading
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.registry.lora import LORA_COMPONENTS, LoraFile, LoraRequest
from artgen.registry.lora.keys import LayerKey, from_ldm_key, kohya_key, parse_tensor_key
from artgen.system.files import file_identity

ActiveLoras = tuple[tuple[str, float, bool], ...]
"""Hash, scale, and whether the LoRA changes text encoders, for each LoRA."""

PEFT_METADATA_KEY = "lora_adapter_metadata"
"""Metadata key with the PEFT configuration in files of newer versions of diffusers."""

LORA_KEY_NAMES = {False: ("lora_A", "lora_B"), True: ("lora_linear_layer.down", "lora_linear_layer.up")}
"""Names of the two matrices in diffusers: of a denoiser (False) and of a text encoder (True)."""

StateDict = dict[str, torch.Tensor]

_active_loras: "weakref.WeakKeyDictionary[Any, ActiveLoras]" = weakref.WeakKeyDictionary()


def active_loras(pipe: Any) -> ActiveLoras:
    """Return the LoRAs on a pipeline. Pipelines of other tasks share its components and LoRAs."""
    return _active_loras.get(_denoiser(pipe), ())


def active_text_encoder_loras(pipe: Any) -> ActiveLoras:
    """Return the active LoRAs that change text encoders."""
    return tuple(each for each in active_loras(pipe) if each[2])


def set_loras(pipe: Any, loras: Sequence[LoraRequest], device_config: DeviceConfig, offload: str | None) -> None:
    """Set the active LoRAs of a pipeline. Reuse LoRAs that are already loaded.

    Args:
        pipe: the cached pipeline.
        loras: LoRAs in order; an empty sequence unloads all.
        device_config, offload: placement of the pipeline. diffusers removes the offloading hooks when it loads a LoRA.

    Raises:
        ModelUnavailableError: diffusers cannot load a LoRA, or ignores some of its tensors. No LoRA is active then.
    """
    requested = tuple((each.file.sha256, each.scale, _touches_text_encoder(each.file)) for each in loras)
    before = active_loras(pipe)
    if requested == before:
        return
    offloaded = offload in ("model", "sequential")
    if offloaded:
        pipe.remove_all_hooks()
    try:
        with pipeline_cache.silence_libraries():
            _update(pipe, loras, {digest for digest, _, _ in before})
    except BaseException:
        _unload_all(pipe)
        raise
    finally:
        if offloaded:
            offloading.apply_offload(pipe, device_config, offload)
    _active_loras[_denoiser(pipe)] = requested


def _denoiser(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)


def _touches_text_encoder(lora_file: LoraFile) -> bool:
    return any(component.startswith("text_encoder") for component in lora_file.components)


def _unload_all(pipe: Any) -> None:
    _active_loras.pop(_denoiser(pipe), None)
    with pipeline_cache.silence_libraries():
        pipe.unload_lora_weights()


def _update(pipe: Any, loras: Sequence[LoraRequest], loaded_hashes: set[str]) -> None:
    names = [each.file.sha256 for each in loras]
    if not names:
        _unload_all(pipe)
        return
    if unused := loaded_hashes.difference(names):
        pipe.delete_adapters(sorted(unused))
    for each in loras:
        if each.file.sha256 not in loaded_hashes:
            _load_lora(pipe, each.file)
    pipe.set_adapters(names, [each.scale for each in loras])
    # Loading a LoRA can change the training mode of a component.
    for component in LORA_COMPONENTS:
        if (module := getattr(pipe, component, None)) is not None:
            module.eval()


def _load_lora(pipe: Any, lora_file: LoraFile) -> None:
    """Load a LoRA and check that no tensor is missing: diffusers only logs tensors that it ignores."""
    try:
        state_dict = load_file(lora_file.path)
        if PEFT_METADATA_KEY in lora_file.metadata:
            pipe.load_lora_weights(
                str(lora_file.path.parent),
                weight_name=lora_file.path.name,
                adapter_name=lora_file.sha256,
                local_files_only=True,
                use_safetensors=True,
            )
        else:
            pipe.load_lora_weights(_to_diffusers_keys(pipe, state_dict), adapter_name=lora_file.sha256)
        unmatched = _unmatched_tensors(pipe, lora_file, state_dict)
        if file_identity(lora_file.path) != lora_file.identity:
            raise ValueError("the file changed while it was used.")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _attach_error(lora_file, first_line(error)) from error
    if unmatched:
        reason = f"diffusers ignored {len(unmatched)} of its tensors; the first is {unmatched[0]}."
        raise _attach_error(lora_file, reason)


def _attach_error(lora_file: LoraFile, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the LoRA '{lora_file.path.name}': {reason}",
        "Use a LoRA in the format of diffusers or kohya.",
    )


def _to_diffusers_keys(pipe: Any, state_dict: StateDict) -> StateDict:
    """Rename the tensors of a LoRA to names that diffusers always supports; `_unmatched_tensors` sets the alphas.

    The conversion of kohya files in diffusers 0.42 (`convert_state_dict_to_diffusers`) loses the alphas of text
    encoders whose module names are shorter in transformers 5, and its support of a text encoder depends on the layers.
    """
    modules = _modules_by_layer(pipe)
    renamed = {}
    for name, values in state_dict.items():
        tensor = parse_tensor_key(name)
        if tensor is not None:
            key = _to_pipeline_layer(pipe, tensor.layer)
            layer = modules[key][0] if key in modules else tensor.layer.name
            matrix = LORA_KEY_NAMES[key.component.startswith("text")][0 if tensor.is_down else 1]
            renamed[f"{key.component}.{layer}.{matrix}.weight"] = values
    return renamed


def _unmatched_tensors(pipe: Any, lora_file: LoraFile, state_dict: StateDict) -> list[str]:
    """Set the alphas of a loaded LoRA. Return its tensors that the pipeline lacks or has with other values."""
    modules = _modules_by_layer(pipe)
    unmatched = []
    for name, values in state_dict.items():
        tensor = parse_tensor_key(name)
        if tensor is None:
            continue
        _, module = modules.get(_to_pipeline_layer(pipe, tensor.layer), ("", None))
        if lora_file.sha256 not in getattr(module, "lora_A", {}):
            unmatched.append(name)
            continue
        loaded = (module.lora_A if tensor.is_down else module.lora_B)[lora_file.sha256].weight
        if loaded.shape != values.shape or not torch.equal(loaded.detach().cpu(), values.to(loaded.dtype)):
            unmatched.append(name)
        alpha = state_dict.get(f"{name.partition('.')[0]}.alpha")
        if alpha is not None:
            module.lora_alpha[lora_file.sha256] = float(alpha)
    return unmatched


def _to_pipeline_layer(pipe: Any, layer: LayerKey) -> LayerKey:
    """Convert a UNet layer from LDM names to diffusers names; return other layers unchanged."""
    if layer.component != "unet" or not hasattr(pipe, "unet"):
        return layer
    layers_per_block = pipe.unet.config.layers_per_block
    count = layers_per_block if isinstance(layers_per_block, int) else int(layers_per_block[0])
    return LayerKey("unet", from_ldm_key(layer.name, count))


def _modules_by_layer(pipe: Any) -> dict[LayerKey, tuple[str, Any]]:
    """Return the module name and the module of each layer of a pipeline that LoRAs support."""
    return {
        LayerKey(component, kohya_key(name)): (name, module)
        for component in LORA_COMPONENTS
        for name, module in (getattr(pipe, component, None) or torch.nn.Module()).named_modules()
    }
