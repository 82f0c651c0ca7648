"""Which device and which precision."""

from dataclasses import dataclass

import torch

from artgen.errors import UsageError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

AUTO_DTYPE = {"cuda": "fp16", "mps": "fp16", "cpu": "fp32"}
"""What `--dtype auto` means on each device. fp16 on the CPU is slow and lacks kernels."""

BF16_MIN_MODEL_BYTES = 500_000_000
"""Bytes of weights from which drawing in bf16 is worth what it costs in exactness, on a CPU that has it."""


@dataclass(frozen=True)
class DeviceConfig:
    """A device and a precision, chosen.

    Attributes:
        device: torch's name of it, `cpu`, `mps`, `cuda` or `cuda:1`.
        dtype: `fp32`, `fp16` or `bf16`: what it computes in.
        quantize: `fp8` when the denoiser's weights are stored in 8 bits, else None.
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


def resolve_device(device: str, dtype: str, model_bytes: int = 0) -> DeviceConfig:
    """Settles `auto`.

    Args:
        device: `auto`, or torch's name of it.
        dtype: `auto` or a precision.
        model_bytes: bytes that the model's weights take on the disk; 0 for work that is not to be done in bf16 unasked.

    Raises:
        UsageError: the device asked for is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device that torch can use.", "Leave --device out, or use --device cpu.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"There is no device {device}; torch sees {torch.cuda.device_count()}.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("There is no MPS device on this machine.", "Leave --device out, or use --device cpu.")
    if dtype == "auto":
        dtype = (
            "bf16"
            if kind == "cpu" and model_bytes >= BF16_MIN_MODEL_BYTES and _cpu_supports_bf16()
            else AUTO_DTYPE[kind]
        )
    return DeviceConfig(device, dtype)


def _cpu_supports_bf16() -> bool:
    """Whether this CPU has instructions for products in bf16: AVX512_BF16, AMX or ARM's.

    Asked, not timed: the same machine has to choose the same precision each time.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    known = ask() if ask else {}
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
