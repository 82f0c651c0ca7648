"""Recognize out-of-memory and lost-device errors, and release unused memory."""

import torch

from artgen.errors import DeviceLostError
from artgen.system import process
from artgen.system.command_state import register_reset

_OOM_MESSAGES = (
    "out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_ALLOC_FAILED", "unable to find an engine to execute",
)  # fmt: skip
"""Parts of messages. With too little memory, cuBLAS cannot create its handle and cuDNN finds no engine."""


def is_oom(error: BaseException) -> bool:
    """Return whether an exception is an out-of-memory error of any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OOM_MESSAGES)


def is_device_lost(error: BaseException) -> bool:
    """Return whether an exception means that this process can no longer use a GPU. The function tests the GPUs."""
    if not isinstance(error, RuntimeError) or "CUDA error" not in str(error) or is_oom(error):
        return False
    try:
        _synchronize_gpus()
    except RuntimeError:
        return True
    return not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def _synchronize_gpus() -> None:
    """Wait for the GPUs that this process uses.

    Raises:
        RuntimeError: a GPU is lost for this process: every call fails after its context is broken.
    """
    for index in range(torch.cuda.device_count()):
        if torch.cuda.memory_reserved(index):
            torch.cuda.synchronize(index)


@register_reset
def _release_unused_memory() -> None:
    """Return unused memory to the devices and to the system after a command of a resident process.

    Raises:
        RuntimeError: a GPU is lost for this process, so that the process must end.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        _synchronize_gpus()
        torch.cuda.empty_cache()
    process.trim_heap()


def raise_if_device_lost(error: BaseException) -> None:
    """Raise DeviceLostError if `error` means that the GPU is lost for this process."""
    if is_device_lost(error):
        raise DeviceLostError(
            f"The GPU is lost for this process: {first_line(error)}",
            "Run the same command again. A batch continues with the missing images.",
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error message that is not empty; the name of the class if there is none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
