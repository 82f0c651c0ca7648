"""LoRAs: small matrices added to a model's layers, which learn while the model's own weights stay.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, arXiv 2106.09685; by peft.
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
    """Adds a LoRA to the denoiser, and to the text encoders if asked; everything else is frozen.

    Its own weights are float32 whatever the model's precision; at first it changes nothing.

    Returns:
        the parts of the pipeline that have one, by name.
    """
    parts: dict[str, Any] = {"unet": pipe.unet}
    targets = {"unet": _target_layers(pipe.unet, settings.target or "attention")}
    if settings.train_text_encoder:
        for name in TEXT_ENCODER_NAMES:
            if getattr(pipe, name, None) is not None:
                parts[name], targets[name] = getattr(pipe, name), list(TEXT_ENCODER_TARGETS)
    for name, module in parts.items():
        alpha: Any = settings.alpha or settings.rank
        config = LoraConfig(r=settings.rank, lora_alpha=alpha, target_modules=targets[name])
        module.add_adapter(config, adapter_name=ADAPTER_NAME)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return parts


def _target_layers(unet: nn.Module, target: str) -> list[str]:
    if target == "attention":
        return list(ATTENTION_TARGETS)
    kinds = (nn.Linear,) if target == "linear" else (nn.Linear, nn.Conv2d)
    return [name for name, module in unet.named_modules() if isinstance(module, kinds)]


def lora_state_dict(trained_modules: Mapping[str, nn.Module], key_format: str) -> dict[str, Tensor]:
    """The LoRA as other tools read it, on the CPU in float32.

    Its scale is multiplied in, so that alpha equals the rank for who looks for it and for who does not.

    Args:
        trained_modules: as `attach` gives them.
        key_format: `diffusers`, as `load_lora_weights` writes them, or `kohya`, as sd-scripts does (with diffusers' names of
            layers).
    """
    found: dict[str, Tensor] = {}
    for part, module in trained_modules.items():
        for layer, down, up in _iter_lora_weights(module):
            if key_format == "kohya":
                prefix = (
                    _KOHYA_PREFIXES[part]
                    if part != "text_encoder" or "text_encoder_2" not in trained_modules
                    else "lora_te1"
                )
                inside = layer if part == "unet" else f"text_model.{layer.removeprefix('text_model.')}"
                name = f"{prefix}_{inside.replace('.', '_')}"
                found[f"{name}.alpha"] = torch.tensor(float(down.shape[0]))
                found[f"{name}.lora_down.weight"], found[f"{name}.lora_up.weight"] = down, up
            else:
                found[f"{part}.{layer}.lora_A.weight"], found[f"{part}.{layer}.lora_B.weight"] = down, up
    return found


def _iter_lora_weights(module: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer) and ADAPTER_NAME in layer.lora_A:
            down = _detached_weight(layer.lora_A[ADAPTER_NAME]).float().cpu()
            up = _detached_weight(layer.lora_B[ADAPTER_NAME]).float().cpu() * layer.scaling[ADAPTER_NAME]
            yield name, down.contiguous().clone(), up.contiguous().clone()


def _detached_weight(module: nn.Module) -> Tensor:
    weight: Any = module.weight
    found: Tensor = weight.detach()
    return found


def kohya_metadata(rank: int, architecture: str) -> dict[str, str]:
    """What sd-scripts' metadata says of a LoRA; other tools show it and choose by it."""
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
