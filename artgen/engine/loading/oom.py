"""Recognize out-of-memory and lost-device errors."""

import torch

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
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):
                torch.cuda.synchronize(index)  # Every call fails after the process's context is broken.
    except RuntimeError:
        return True
    return not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
