"""Select the device and the dtype."""

from dataclasses import dataclass
from typing import Any

import torch

from artgen.errors import UsageError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

AUTO_DTYPE = {"cuda": "fp16", "mps": "fp16", "cpu": "fp32"}
"""Dtype of `--dtype auto` on each device. fp16 on the CPU is slow and lacks kernels."""

BF16_MIN_MODEL_BYTES = 500_000_000
"""Size of the weights in bytes from which `auto` selects bf16 on a CPU that supports it. bf16 is less accurate."""


@dataclass(frozen=True)
class DeviceConfig:
    """Store the device and the dtype of a pipeline.

    Attributes:
        device: device name of torch: `cpu`, `mps`, `cuda` or `cuda:1`.
        dtype: dtype of the computation: `fp32`, `fp16` or `bf16`.
        quantize: one of `artgen.spec.settings.compute.QUANTIZATIONS`: format of the denoiser's weights; None: `dtype`.
    """

    device: str
    dtype: str
    quantize: str | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def is_gpu(self) -> bool:
        return not self.device.startswith("cpu")


def resolve_device(device: str, dtype: str, model_bytes: int = 0, *, is_transformer: bool = False) -> DeviceConfig:
    """Resolve `auto` for the device and the dtype.

    Args:
        device: `auto` or a device name of torch.
        dtype: `auto` or a dtype.
        model_bytes: size of the model's weights on disk in bytes; 0 for work that never selects bf16 automatically.
        is_transformer: whether the denoiser is a transformer. Transformers were trained in bf16; the activations of
            Flux, Qwen-Image, Z-Image and others exceed the range of fp16.

    Raises:
        UsageError: the device is not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("Cannot use CUDA: torch finds no CUDA device.", "Remove --device, or use --device cpu.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UsageError(
            f"Cannot use '{device}': torch finds {torch.cuda.device_count()} CUDA device(s), numbered from 0."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Cannot use MPS: this machine has no MPS device.", "Remove --device, or use --device cpu.")
    if dtype == "auto":
        dtype = _auto_dtype(kind, model_bytes, is_transformer)
    return DeviceConfig(device, dtype)


def _auto_dtype(kind: str, model_bytes: int, is_transformer: bool) -> str:
    if kind == "cpu" and model_bytes >= BF16_MIN_MODEL_BYTES and _cpu_supports_bf16():
        return "bf16"
    if kind == "cuda" and is_transformer and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return AUTO_DTYPE[kind]


def execution_device(pipe: Any) -> torch.device:
    """Return the device on which a pipeline computes. With offloading, `pipe.device` is the device of the weights."""
    device: torch.device = pipe._execution_device
    return device


def _cpu_supports_bf16() -> bool:
    """Return whether this CPU has bf16 matrix instructions: AVX512_BF16, AMX or ARM's bf16.

    A measurement instead could select another dtype each time on one machine.
    """
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)
    capabilities = get_capabilities() if get_capabilities else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
