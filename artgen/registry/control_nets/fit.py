"""Check that a control net fits a model: the same architecture, and layers of the same sizes. Torch-free."""

from collections.abc import Mapping
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import diffusers_folder
from artgen.registry.control_nets.control_net import ControlNet
from artgen.registry.pipelines import architecture_entry
from artgen.registry.resolved import ResolvedModel

NET_CLASSES = ("ControlNetModel", "ControlNetUnionModel", "SD3ControlNetModel", "FluxControlNetModel", "T2IAdapter")
_UNET_KEYS = ("block_out_channels", "layers_per_block", "cross_attention_dim")
_COMPARED_KEYS: Mapping[str, tuple[str, ...]] = {
    "ControlNetModel": _UNET_KEYS,
    "ControlNetUnionModel": _UNET_KEYS,
    "SD3ControlNetModel": ("in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim"),
    "FluxControlNetModel": ("in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim"),
    "T2IAdapter": ("channels",),
}
"""Keys that must have the same value in the configurations of the net and of the denoiser."""

_DENOISER_KEYS = {"channels": "block_out_channels"}
"""Key of the denoiser's configuration, where it has another name."""

_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_HINT = "Omit model= to use the default net, or choose a net for the architecture of --model."


def denoiser_config(model: ResolvedModel) -> dict[str, Any]:
    """Return the configuration of a model's denoiser."""
    return diffusers_folder.read_optional_config(model.config_folder / model.pipeline_entry.denoiser / "config.json")


def net_architecture(class_name: str, config: Mapping[str, Any]) -> str:
    """Return the architecture of the models that a net fits, as far as its configuration shows it; else empty."""
    if class_name in ("SD3ControlNetModel", "FluxControlNetModel"):
        return "sd3" if class_name.startswith("SD3") else "flux"
    if class_name == "T2IAdapter":
        return "sdxl" if config.get("adapter_type") == "full_adapter_xl" else "sd1"
    if config.get("addition_embed_type") == "text_time":
        return "sdxl"
    width = config.get("cross_attention_dim")
    return _WIDTHS.get(width, "") if isinstance(width, int) else ""


def check_compatible(net: ControlNet, model: ResolvedModel) -> None:
    """Compare the class and the configuration of a net with the model.

    Raises:
        ModelUnavailableError: the net is for another architecture or for layers of other sizes.
    """
    if reason := mismatch_reason(net, model.architecture, denoiser_config(model)):
        raise ModelUnavailableError(
            f"Cannot use the control net '{net.name}' with '{model.short_name}': {reason}.",
            _HINT,
            settings=("control",),
        )


def mismatch_reason(net: ControlNet, architecture: str, config: Mapping[str, Any]) -> str:
    """Return why a net does not fit a model; empty if it does.

    Args:
        net: the net.
        architecture: architecture of the model.
        config: configuration of the model's denoiser.
    """
    differences = [
        (key, net.config.get(key), config.get(_DENOISER_KEYS.get(key, key)))
        for key in _COMPARED_KEYS[net.class_name]
        if net.config.get(key) is not None
    ]
    if net.is_adapter:  # an adapter for SDXL has one block more than the UNet
        differences = [(key, (found or [])[: len(wanted or [])], wanted) for key, found, wanted in differences]
    differences = [each for each in differences if not _equal(each[1], each[2])]
    if net.is_adapter and net.config and (net.architecture == "sdxl") != (architecture == "sdxl"):
        return f"it is an adapter for {_title(net.architecture)}, and the model is {_title(architecture)}"
    if not _has_denoiser(net.class_name, architecture) or (differences and net.architecture not in ("", architecture)):
        return f"it is a net for {_title(net.architecture) or net.class_name}, and the model is {_title(architecture)}"
    if differences:
        key, found, expected = differences[0]
        return f"its {key} is {_shown(found)}, and the denoiser of the model has {_shown(expected)}"
    conditioning = (net.config.get("addition_embed_type"), config.get("addition_embed_type"))
    if net.class_name.startswith("ControlNet") and "text_time" in conditioning and conditioning[0] != conditioning[1]:
        return f"its addition_embed_type is {conditioning[0]}, and the denoiser of the model has {conditioning[1]}"
    return ""


def _has_denoiser(class_name: str, architecture: str) -> bool:
    """Return whether the models of an architecture have the kind of denoiser for which a class of nets is made."""
    wanted = {"SD3ControlNetModel": ("sd3",), "FluxControlNetModel": ("flux",), "ControlNetUnionModel": ("sdxl",)}
    return architecture in wanted.get(class_name, ("sd1", "sd2", "sdxl"))


def _title(architecture: str) -> str:
    entry = architecture_entry(architecture) if architecture else None
    return entry.title if entry else architecture


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return list(value) == list(wanted)
    if isinstance(value, list | tuple) != isinstance(wanted, list | tuple):
        values, number = (value, wanted) if isinstance(value, list | tuple) else (wanted, value)
        return all(each == number for each in values)
    return bool(value == wanted)


def _shown(value: Any) -> str:
    return str(value)[:60]
