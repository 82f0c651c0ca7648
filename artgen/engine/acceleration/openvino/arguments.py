"""Separate the tensors in the arguments of a denoiser from the other values, and describe both.

A structure is a JSON value that describes nested lists, tuples and dictionaries. It contains the index, the dtype and
the number of dimensions of each tensor, and all other values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from artgen.errors import PipelineError

Structure = dict[str, Any]

_HALF_DTYPES = (torch.float16, torch.bfloat16)


def flatten(value: Any, name: str, tensors: list[torch.Tensor]) -> Structure:
    """Return the structure of a value, and append its tensors to a list.

    Args:
        value: tensors, numbers, texts, and lists, tuples and dictionaries of them.
        name: name of the value, for the message.
        tensors: receives the tensors, in the order of their indices.

    Raises:
        PipelineError: the value contains an object of another type.
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        dtype = str(value.dtype).removeprefix("torch.")
        return {"tensor": len(tensors) - 1, "dtype": dtype, "ndim": value.ndim}
    if isinstance(value, Mapping):
        return {"dict": {str(key): flatten(each, f"{name}.{key}", tensors) for key, each in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(each, f"{name}.{i}", tensors) for i, each in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise PipelineError(
        f"Cannot convert the denoiser to OpenVINO: its argument {name} is of the class {type(value).__name__}.",
        "Use --acceleration none.",
    )


def restore(structure: Structure, tensors: Sequence[torch.Tensor]) -> Any:
    """Return the value of a structure. Each tensor is cast to its dtype."""
    if "tensor" in structure:
        return tensors[structure["tensor"]].to(getattr(torch, structure["dtype"]))
    if "dict" in structure:
        return {key: restore(each, tensors) for key, each in structure["dict"].items()}
    if "list" in structure:
        return [restore(each, tensors) for each in structure["list"]]
    if "tuple" in structure:
        return tuple(restore(each, tensors) for each in structure["tuple"])
    return structure["value"]


def without_half(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return tensors with fp32 in place of fp16 and bf16, which numpy does not support. The conversion is exact."""
    return tuple(tensor.float() if tensor.dtype in _HALF_DTYPES else tensor for tensor in tensors)
