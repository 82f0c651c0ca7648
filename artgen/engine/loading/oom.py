"""Recognize out-of-memory and lost-device errors."""

import torch

_OOM_MESSAGES = (
    "out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_ALLOC_FAILED", "unable to find an engine to execute",
)  # fmt: skip
"""What libraries say. cuBLAS cannot make its handle, cuDNN finds no algorithm, where too little memory is left."""


def is_oom(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _OOM_MESSAGES)


def is_device_lost(error: BaseException) -> bool:
    """Whether an exception means that a GPU answers this process no more, whatever it is asked; asks it."""
    if not isinstance(error, RuntimeError) or "CUDA error" not in str(error) or is_oom(error):
        return False
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):
                torch.cuda.synchronize(index)  # what has broken a process's context is told by every call
    except RuntimeError:
        return True
    return not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
