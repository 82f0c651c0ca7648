"""Load control nets, and cache them like models.

The nets of a pipeline call stay loaded with the model. A net that the next call does not use becomes idle, and is
unloaded when another model or net is loaded or when memory runs out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError

from artgen.engine.control.fit import check_fits
from artgen.engine.loading import loaded_models, pipeline_cache, weights
from artgen.engine.loading.components import Pipeline
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.loaded_parts import add_part
from artgen.engine.loading.offload import place_module
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.jobs.control import ControlInput
from artgen.registry.control_nets import ControlNet
from artgen.registry.safetensors_header import read_header
from artgen.system.files import FileIdentity, file_identity

ORIGINAL_PREFIXES = ("control_model.", "input_blocks.", "input_hint_block.")
"""Prefixes of tensors in the format of the original ControlNet, which diffusers converts."""


@dataclass(frozen=True)
class Placement:
    """Describe where nets are loaded.

    Attributes:
        device_config: device and dtype of the computation. Nets are not quantized.
        offload: offload mode of the model's pipeline.
        listener: receives the events of the loading.
    """

    device_config: DeviceConfig
    offload: str | None
    listener: Listener


@dataclass(frozen=True)
class _NetFiles:
    """Store the identities of the files of a net, as `ResolvedModel.files` does.

    Attributes:
        files: identities of the weight files.
    """

    files: tuple[FileIdentity, ...]


def active_controls(controls: Sequence[ControlInput]) -> tuple[ControlInput, ...]:
    """Return the control images that can change the image: a control image with the scale 0 is disabled."""
    return tuple(each for each in controls if each.spec.scale != 0)


def load_nets(controls: Sequence[ControlInput], pipe: Pipeline, placement: Placement) -> list[Any]:
    """Return the net of each control image, on the device. Other nets become idle.

    Args:
        controls: control images of a job.
        pipe: the model's pipeline, which the nets must fit.
        placement: device of the nets.

    Raises:
        ModelUnavailableError: a net is damaged or does not fit the model.
    """
    files = {each.net.path: _files(each.net) for each in controls}
    loaded_models.release_parts(keep=[each.files for each in files.values()])
    return [_load_cached(each.net, files[each.net.path], pipe, placement) for each in controls]


def _files(net: ControlNet) -> _NetFiles:
    config = net.path / "config.json"
    paths = (*([config] if config.is_file() else []), *net.files)
    return _NetFiles(tuple(file_identity(path) for path in paths))


def _load_cached(net: ControlNet, files: _NetFiles, pipe: Pipeline, placement: Placement) -> Any:
    device_config, offload = placement.device_config, placement.offload
    key = ("control net", net.class_name, device_config, offload)
    entry = loaded_models.find(files, key)
    if entry is None:
        loaded_models.reserve_part()
        placement.listener(Loading("control net"))
        module = _load(net, pipe, device_config)
        if _files(net) != files:
            raise ModelUnavailableError(
                f"Cannot use the control net '{net.name}': its files changed while it was used.",
                "Run the command again.",
            )
        place_module(module, device_config, offload)
        entry = add_part(key, files.files, module, net.name, device_config.device, device_config.dtype)
    else:
        check_fits(net, entry.value.config, pipe)
    entry.active = entry.used = True
    return entry.value


def _load(net: ControlNet, pipe: Pipeline, device_config: DeviceConfig) -> Any:
    """Load a net into CPU memory.

    Raises:
        ModelUnavailableError: tensors are missing or have other shapes than the configuration, or the net does not fit.
    """
    try:
        with pipeline_cache.silence_libraries():
            with init_empty_weights():
                module = getattr(diffusers, net.class_name).from_config(dict(net.config))
            check_fits(net, module.config, pipe)
            _set_weights(module, net, device_config.torch_dtype)
        return module.eval()
    except ArtgenError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _load_error(net, first_line(error).rstrip(".")) from error


def _set_weights(module: Any, net: ControlNet, dtype: torch.dtype) -> None:
    """Replace the weights of a module by the weights of the files, without a conversion in place."""
    tensors = weights.load_converted(net.files, dtype)
    if any(name.startswith(ORIGINAL_PREFIXES) for name in tensors):
        from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint  # a slow import

        converted = convert_controlnet_checkpoint(tensors, dict(module.config))
        tensors = {name: tensor for name, tensor in converted.items() if tensor is not None}
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    if missing:
        raise _load_error(net, f"it lacks the tensor {missing[0]}")
    if unknown:
        raise _load_error(net, f"its configuration does not describe the tensor {unknown[0]}")
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            shape = "x".join(map(str, tensors[name].shape))
            raise _load_error(net, f"its tensor {name} has the shape {shape}, and its configuration another one")
    module.load_state_dict(tensors, assign=True)


def _load_error(net: ControlNet, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the control net '{net.name}': {reason}.",
        f"artgen models pull --force {net.source}" if net.revision else "Use another copy of the net.",
    )


def net_bytes(controls: Sequence[ControlInput], value_bytes: int) -> int:
    """Return the bytes of the weights of all nets of the active control images; equal nets count once.

    Args:
        controls: control images of a job.
        value_bytes: bytes of a value.
    """
    files = {file for each in active_controls(controls) for file in each.net.files}
    return sum(read_header(file).parameter_count for file in files) * value_bytes
