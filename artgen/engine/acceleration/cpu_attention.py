"""Compute attention in bf16 on the CPU in chunks of queries, so that the attention weights fit in the CPU cache.

The attention kernel of torch is as slow in bf16 as in fp32: half of a step of Stable Diffusion 1.5 at 512x512. Two
matrix products and a softmax (Vaswani et al. 2017, arXiv 1706.03762) use the bf16 instructions of the CPU. They take
half the time, with the same error relative to fp32.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from artgen.engine.loading.device import DeviceConfig

ATTENTION_CHUNK = 512
"""Queries per chunk."""
MIN_TOKENS = 1024
"""Fewest queries and keys for chunked attention; torch computes attention with fewer tokens."""


@contextlib.contextmanager
def use_chunked_attention(device_config: DeviceConfig) -> Iterator[None]:
    """Use chunked attention within the block if the device is the CPU and the dtype is bf16.

    The environment variable ARTGEN_CPU_ATTENTION=plain disables it. The variable is temporary, for benchmarks.
    """
    disabled = os.environ.get("ARTGEN_CPU_ATTENTION") == "plain"
    if disabled or device_config.is_gpu or device_config.dtype != "bf16":
        yield
    else:
        with _ChunkedSDPA():
            yield


class _ChunkedSDPA(TorchFunctionMode):
    """Replace `scaled_dot_product_attention`; leave other functions of torch unchanged."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            named = {**dict(zip(_SDPA_PARAMETERS, args, strict=False)), **kwargs}
            if _supports_chunking(named):
                return chunked_attention(named["query"], named["key"], named["value"], named.get("scale"))
        return func(*args, **kwargs)


_SDPA_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _supports_chunking(arguments: Mapping[str, Any]) -> bool:
    """Return whether a call has bf16 tensors on the CPU, no mask, no causal attention, and at least `MIN_TOKENS`."""
    if (
        any(arguments.get(name) for name in ("dropout_p", "is_causal", "enable_gqa"))
        or arguments.get("attn_mask") is not None
    ):
        return False
    query, key = arguments["query"], arguments["key"]
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.ndim < 3:
        return False
    return bool(min(query.shape[-2], key.shape[-2]) >= MIN_TOKENS and query.shape[:-2] == key.shape[:-2])


def chunked_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """Return softmax(query key^T scale) value.

    Args:
        query: shape (..., queries, channels), with at least one batch dimension.
        key, value: shape (..., keys, channels), with the same batch dimensions.
        scale: factor of the products; None is 1 / sqrt(channels).
    """
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    out = torch.empty((*query.shape[:-1], value.shape[-1]), dtype=query.dtype)
    flat = (tensor.flatten(0, -3) for tensor in (out, query, key, value))
    for result, queries, keys, values in zip(*flat, strict=True):
        for first in range(0, len(queries), ATTENTION_CHUNK):
            weights = torch.mm(queries[first : first + ATTENTION_CHUNK], keys.t()).softmax(-1)
            torch.mm(weights, values, out=result[first : first + ATTENTION_CHUNK])
    return out
