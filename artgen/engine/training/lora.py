"""Add trainable LoRAs to a pipeline and export them.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, arXiv 2106.09685; implemented by peft.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from artgen.spec.settings import LoraTrainingSettings

ADAPTER_NAME = "artgen"
ATTENTION_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ENCODER_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_ENCODER_NAMES = ("text_encoder", "text_encoder_2")

_KOHYA_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def add_lora(pipe: Any, settings: LoraTrainingSettings) -> dict[str, nn.Module]:
    """Add a LoRA to the denoiser and, with `train_text_encoder`, to the text encoders. Freeze all other weights.

    The LoRA weights are float32 for every model precision. A new LoRA does not change the output of its module.

    Returns:
        The components that have a LoRA, by name.
    """
    modules: dict[str, Any] = {"unet": pipe.unet}
    targets = {"unet": _target_layers(pipe.unet, settings.target or "attention")}
    if settings.train_text_encoder:
        for name in TEXT_ENCODER_NAMES:
            if getattr(pipe, name, None) is not None:
                modules[name], targets[name] = getattr(pipe, name), list(TEXT_ENCODER_TARGETS)
    for name, module in modules.items():
        alpha: Any = settings.alpha or settings.rank
        config = LoraConfig(r=settings.rank, lora_alpha=alpha, target_modules=targets[name])
        module.add_adapter(config, adapter_name=ADAPTER_NAME)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return modules


def _target_layers(unet: nn.Module, target: str) -> list[str]:
    if target == "attention":
        return list(ATTENTION_TARGETS)
    classes = (nn.Linear,) if target == "linear" else (nn.Linear, nn.Conv2d)
    return [name for name, module in unet.named_modules() if isinstance(module, classes)]


def lora_state_dict(trained_modules: Mapping[str, nn.Module], key_format: str) -> dict[str, Tensor]:
    """Return the LoRA in a file format of other tools, on the CPU in float32.

    The weights contain the scale, so alpha equals the rank. Tools that read alpha and tools that ignore it give the
    same result.

    Args:
        trained_modules: return value of `add_lora`.
        key_format: `diffusers` (`load_lora_weights`) or `kohya` (sd-scripts, with diffusers' layer names).
    """
    tensors: dict[str, Tensor] = {}
    for part, module in trained_modules.items():
        for layer, down, up in _iter_lora_weights(module):
            if key_format == "kohya":
                prefix = (
                    _KOHYA_PREFIXES[part]
                    if part != "text_encoder" or "text_encoder_2" not in trained_modules
                    else "lora_te1"
                )
                path = layer if part == "unet" else f"text_model.{layer.removeprefix('text_model.')}"
                name = f"{prefix}_{path.replace('.', '_')}"
                tensors[f"{name}.alpha"] = torch.tensor(float(down.shape[0]))
                tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
            else:
                tensors[f"{part}.{layer}.lora_A.weight"], tensors[f"{part}.{layer}.lora_B.weight"] = down, up
    return tensors


def _iter_lora_weights(module: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer) and ADAPTER_NAME in layer.lora_A:
            down = _detached_weight(layer.lora_A[ADAPTER_NAME]).float().cpu()
            up = _detached_weight(layer.lora_B[ADAPTER_NAME]).float().cpu() * layer.scaling[ADAPTER_NAME]
            yield name, down.contiguous().clone(), up.contiguous().clone()


def _detached_weight(module: nn.Module) -> Tensor:
    weight: Any = module.weight
    detached: Tensor = weight.detach()
    return detached


def kohya_metadata(rank: int, architecture: str) -> dict[str, str]:
    """Return the metadata that sd-scripts writes. Other tools display it and use it to detect the base model."""
    base = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}.get(architecture, architecture)
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_base_model_version": base,
        "modelspec.architecture": _MODELSPEC_ARCHITECTURES.get(architecture, architecture) + "/lora",
    }


_MODELSPEC_ARCHITECTURES = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2-512",
    "sdxl": "stable-diffusion-xl-v1-base",
}
