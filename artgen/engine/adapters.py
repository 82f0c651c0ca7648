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

from artgen.adapters import PARTS, Adapter, Attachment
from artgen.adapters.naming import Layer, flat, from_original, parse_tensor
from artgen.engine import loading, offloading
from artgen.engine.device import Placement
from artgen.engine.memory import is_exhaustion, is_lost
from artgen.errors import ModelUnavailableError

Attached = tuple[tuple[str, float, bool], ...]
"""Hash, scale, and whether it changes text encoders, of each LoRA."""

METADATA = "lora_adapter_metadata"
"""Where newer versions of diffusers write peft's settings, which may say more than the tensors."""

DOWN_UP = {False: ("lora_A", "lora_B"), True: ("lora_linear_layer.down", "lora_linear_layer.up")}
"""What diffusers calls the two matrices, of a denoiser and of a text encoder."""

State = dict[str, torch.Tensor]

_attached: "weakref.WeakKeyDictionary[Any, Attached]" = weakref.WeakKeyDictionary()


def attached(pipe: Any) -> Attached:
    """The LoRAs on the parts of a pipeline, which pipelines of other tasks share."""
    return _attached.get(_denoiser(pipe), ())


def on_text_encoders(pipe: Any) -> Attached:
    """Those that change what a prompt means to the model."""
    return tuple(each for each in attached(pipe) if each[2])


def attach(pipe: Any, loras: Sequence[Attachment], placement: Placement, offload: str | None) -> None:
    """Makes these LoRAs, and no others, act on a pipeline; what is attached already stays.

    Args:
        pipe: the kept pipeline.
        loras: in order; none takes all of them off.
        placement, offload: where the pipeline is; diffusers unhooks offloaded parts and forgets which device it was.

    Raises:
        ModelUnavailableError: diffusers cannot load one, or not all of it; then none is attached.
    """
    wanted = tuple((each.adapter.sha256, each.scale, _reads(each.adapter)) for each in loras)
    before = attached(pipe)
    if wanted == before:
        return
    offloaded = offload in ("model", "sequential")
    if offloaded:
        pipe.remove_all_hooks()
    try:
        with loading.quiet():
            _change(pipe, loras, {digest for digest, _, _ in before})
    except BaseException:
        _take_off(pipe)
        raise
    finally:
        if offloaded:
            offloading.put(pipe, placement, offload)
    _attached[_denoiser(pipe)] = wanted


def _denoiser(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)


def _reads(adapter: Adapter) -> bool:
    return any(component.startswith("text_encoder") for component in adapter.components)


def _take_off(pipe: Any) -> None:
    _attached.pop(_denoiser(pipe), None)
    with loading.quiet():
        pipe.unload_lora_weights()


def _change(pipe: Any, loras: Sequence[Attachment], there: set[str]) -> None:
    names = [each.adapter.sha256 for each in loras]
    if not names:
        _take_off(pipe)
        return
    if gone := there.difference(names):
        pipe.delete_adapters(sorted(gone))
    for each in loras:
        if each.adapter.sha256 not in there:
            _load(pipe, each.adapter)
    pipe.set_adapters(names, [each.scale for each in loras])
    # Loading one lets diffusers change devices and the mode of training of what it touches.
    for part in PARTS:
        if (module := getattr(pipe, part, None)) is not None:
            module.eval()


def _load(pipe: Any, adapter: Adapter) -> None:
    """Reads one LoRA and makes sure that all of it arrived: diffusers drops what it does not know with a log line."""
    try:
        state = load_file(adapter.path)
        if METADATA in adapter.metadata:
            pipe.load_lora_weights(
                str(adapter.path.parent),
                weight_name=adapter.path.name,
                adapter_name=adapter.sha256,
                local_files_only=True,
                use_safetensors=True,
            )
        else:
            pipe.load_lora_weights(_renamed(pipe, state), adapter_name=adapter.sha256)
        lost = _lost(pipe, adapter, state)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        if is_exhaustion(error) or is_lost(error):
            raise
        raise _cannot(adapter, loading.first_line(error)) from error
    if lost:
        raise _cannot(adapter, f"diffusers passed over {len(lost)} of its tensors, first {lost[0]}.")


def _cannot(adapter: Adapter, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{adapter.path.name} cannot be attached: {why}", "Look for the same in diffusers' or kohya's plain form."
    )


def _renamed(pipe: Any, state: State) -> State:
    """A LoRA under names that diffusers takes in every case; `_lost` sets the alphas.

    Its own renaming of kohya's loses the alphas of text encoders whose names transformers 5 has shortened, and what it
    takes of a text encoder depends on which layers there are (`convert_state_dict_to_diffusers`, diffusers 0.42).
    """
    modules = _layers(pipe)
    found = {}
    for name, values in state.items():
        tensor = parse_tensor(name)
        if tensor is not None:
            place = _place(pipe, tensor.layer)
            layer = modules[place][0] if place in modules else tensor.layer.name
            matrix = DOWN_UP[place.component.startswith("text")][0 if tensor.down else 1]
            found[f"{place.component}.{layer}.{matrix}.weight"] = values
    return found


def _lost(pipe: Any, adapter: Adapter, state: State) -> list[str]:
    """The tensors of a LoRA that are not on the pipeline as the file has them; sets the alphas of those that are."""
    modules = _layers(pipe)
    lost = []
    for name, values in state.items():
        tensor = parse_tensor(name)
        if tensor is None:
            continue
        _, module = modules.get(_place(pipe, tensor.layer), ("", None))
        if adapter.sha256 not in getattr(module, "lora_A", {}):
            lost.append(name)
            continue
        here = (module.lora_A if tensor.down else module.lora_B)[adapter.sha256].weight
        if here.shape != values.shape or not torch.equal(here.detach().cpu(), values.to(here.dtype)):
            lost.append(name)
        alpha = state.get(f"{name.partition('.')[0]}.alpha")
        if alpha is not None:
            module.lora_alpha[adapter.sha256] = float(alpha)
    return lost


def _place(pipe: Any, layer: Layer) -> Layer:
    """A layer as the pipeline has it: of the UNet in diffusers' words."""
    if layer.component != "unet" or not hasattr(pipe, "unet"):
        return layer
    layers = pipe.unet.config.layers_per_block
    return Layer("unet", from_original(layer.name, layers if isinstance(layers, int) else int(layers[0])))


def _layers(pipe: Any) -> dict[Layer, tuple[str, Any]]:
    """The layers of a pipeline with their names in diffusers' words."""
    return {
        Layer(part, flat(name)): (name, module)
        for part in PARTS
        for name, module in (getattr(pipe, part, None) or torch.nn.Module()).named_modules()
    }
