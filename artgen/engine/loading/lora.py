"""LoRAs on a kept pipeline: attached, weighed anew and taken off without reading the model again.

diffusers puts a LoRA beside the layers it changes and leaves their weights as they are, so that what is taken off
leaves the model as it was, bit for bit. Nothing is fused.
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
from artgen.engine.loading.oom import is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.registry.lora import LORA_COMPONENTS, LoraFile, LoraRequest
from artgen.registry.lora.keys import LayerKey, from_ldm_key, kohya_key, parse_tensor_key

ActiveLoras = tuple[tuple[str, float, bool], ...]
"""Hash, scale, and whether it changes text encoders, of each LoRA."""

PEFT_METADATA_KEY = "lora_adapter_metadata"
"""Where newer versions of diffusers write peft's settings, which may say more than the tensors."""

LORA_KEY_NAMES = {False: ("lora_A", "lora_B"), True: ("lora_linear_layer.down", "lora_linear_layer.up")}
"""What diffusers calls the two matrices, of a denoiser and of a text encoder."""

StateDict = dict[str, torch.Tensor]

_active_loras: "weakref.WeakKeyDictionary[Any, ActiveLoras]" = weakref.WeakKeyDictionary()


def active_loras(pipe: Any) -> ActiveLoras:
    """The LoRAs on the parts of a pipeline, which pipelines of other tasks share."""
    return _active_loras.get(_denoiser(pipe), ())


def active_text_encoder_loras(pipe: Any) -> ActiveLoras:
    """Those that change what a prompt means to the model."""
    return tuple(each for each in active_loras(pipe) if each[2])


def set_loras(pipe: Any, loras: Sequence[LoraRequest], device_config: DeviceConfig, offload: str | None) -> None:
    """Makes these LoRAs, and no others, act on a pipeline; what is attached already stays.

    Args:
        pipe: the kept pipeline.
        loras: in order; none takes all of them off.
        device_config, offload: where the pipeline is; diffusers unhooks offloaded parts and forgets which device it was.

    Raises:
        ModelUnavailableError: diffusers cannot load one, or not all of it; then none is attached.
    """
    wanted = tuple((each.file.sha256, each.scale, _touches_text_encoder(each.file)) for each in loras)
    before = active_loras(pipe)
    if wanted == before:
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
    _active_loras[_denoiser(pipe)] = wanted


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
    if gone := loaded_hashes.difference(names):
        pipe.delete_adapters(sorted(gone))
    for each in loras:
        if each.file.sha256 not in loaded_hashes:
            _load_lora(pipe, each.file)
    pipe.set_adapters(names, [each.scale for each in loras])
    # Loading one lets diffusers change devices and the mode of training of what it touches.
    for part in LORA_COMPONENTS:
        if (module := getattr(pipe, part, None)) is not None:
            module.eval()


def _load_lora(pipe: Any, lora_file: LoraFile) -> None:
    """Reads one LoRA and makes sure that all of it arrived: diffusers drops what it does not know with a log line."""
    try:
        state = load_file(lora_file.path)
        if PEFT_METADATA_KEY in lora_file.metadata:
            pipe.load_lora_weights(
                str(lora_file.path.parent),
                weight_name=lora_file.path.name,
                adapter_name=lora_file.sha256,
                local_files_only=True,
                use_safetensors=True,
            )
        else:
            pipe.load_lora_weights(_to_diffusers_keys(pipe, state), adapter_name=lora_file.sha256)
        lost = _unmatched_tensors(pipe, lora_file, state)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _attach_error(lora_file, pipeline_cache.first_line(error)) from error
    if lost:
        raise _attach_error(lora_file, f"diffusers passed over {len(lost)} of its tensors, first {lost[0]}.")


def _attach_error(lora_file: LoraFile, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{lora_file.path.name} cannot be attached: {reason}", "Look for the same in diffusers' or kohya's plain form."
    )


def _to_diffusers_keys(pipe: Any, state_dict: StateDict) -> StateDict:
    """A LoRA under names that diffusers takes in every case; `_lost` sets the alphas.

    Its own renaming of kohya's loses the alphas of text encoders whose names transformers 5 has shortened, and what it
    takes of a text encoder depends on which layers there are (`convert_state_dict_to_diffusers`, diffusers 0.42).
    """
    modules = _modules_by_layer(pipe)
    found = {}
    for name, values in state_dict.items():
        tensor = parse_tensor_key(name)
        if tensor is not None:
            place = _to_pipeline_layer(pipe, tensor.layer)
            layer = modules[place][0] if place in modules else tensor.layer.name
            matrix = LORA_KEY_NAMES[place.component.startswith("text")][0 if tensor.is_down else 1]
            found[f"{place.component}.{layer}.{matrix}.weight"] = values
    return found


def _unmatched_tensors(pipe: Any, lora_file: LoraFile, state_dict: StateDict) -> list[str]:
    """The tensors of a LoRA that are not on the pipeline as the file has them; sets the alphas of those that are."""
    modules = _modules_by_layer(pipe)
    lost = []
    for name, values in state_dict.items():
        tensor = parse_tensor_key(name)
        if tensor is None:
            continue
        _, module = modules.get(_to_pipeline_layer(pipe, tensor.layer), ("", None))
        if lora_file.sha256 not in getattr(module, "lora_A", {}):
            lost.append(name)
            continue
        here = (module.lora_A if tensor.is_down else module.lora_B)[lora_file.sha256].weight
        if here.shape != values.shape or not torch.equal(here.detach().cpu(), values.to(here.dtype)):
            lost.append(name)
        alpha = state_dict.get(f"{name.partition('.')[0]}.alpha")
        if alpha is not None:
            module.lora_alpha[lora_file.sha256] = float(alpha)
    return lost


def _to_pipeline_layer(pipe: Any, layer: LayerKey) -> LayerKey:
    """A layer as the pipeline has it: of the UNet in diffusers' words."""
    if layer.component != "unet" or not hasattr(pipe, "unet"):
        return layer
    layers = pipe.unet.config.layers_per_block
    return LayerKey("unet", from_ldm_key(layer.name, layers if isinstance(layers, int) else int(layers[0])))


def _modules_by_layer(pipe: Any) -> dict[LayerKey, tuple[str, Any]]:
    """The layers of a pipeline with their names in diffusers' words."""
    return {
        LayerKey(part, kohya_key(name)): (name, module)
        for part in LORA_COMPONENTS
        for name, module in (getattr(pipe, part, None) or torch.nn.Module()).named_modules()
    }
