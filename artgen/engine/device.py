"""Which device and which precision."""

from dataclasses import dataclass

import torch

from artgen.errors import UsageError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

AUTO_DTYPE = {"cuda": "fp16", "mps": "fp16", "cpu": "fp32"}
"""What `--dtype auto` means on each device. fp16 on the CPU is slow and lacks kernels."""


@dataclass(frozen=True)
class Placement:
    """A device and a precision, chosen.

    Attributes:
        device: torch's name of it, `cpu`, `mps`, `cuda` or `cuda:1`.
        dtype: `fp32`, `fp16` or `bf16`.
    """

    device: str
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def on_gpu(self) -> bool:
        return not self.device.startswith("cpu")


def place(device: str, dtype: str) -> Placement:
    """Settles `auto`.

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
    return Placement(device, AUTO_DTYPE[kind] if dtype == "auto" else dtype)
