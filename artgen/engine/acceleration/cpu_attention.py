"""Attention in bf16 on the CPU, some rows at a time, so that what lies between its two products stays in the cache.

torch's own kernel there takes as long in bf16 as in fp32, half of a step of Stable Diffusion 1.5 at 512x512; two matrix
products and a softmax (Vaswani et al. 2017) use the processor's bf16 instructions and take half as long, at the same
distance from fp32.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from artgen.engine.loading.device import DeviceConfig

ATTENTION_CHUNK = 512
MIN_TOKENS = 1024
"""Fewer queries or keys are left to torch."""


@contextlib.contextmanager
def use_chunked_attention(device_config: DeviceConfig) -> Iterator[None]:
    """Lets attention be computed by rows while a pipeline draws, where that is faster."""
    if device_config.is_gpu or device_config.dtype != "bf16":
        yield
    else:
        with _ChunkedSDPA():
            yield


class _ChunkedSDPA(TorchFunctionMode):
    """Answers for `scaled_dot_product_attention`; every other function of torch is left alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            named = {**dict(zip(_SDPA_PARAMETERS, args, strict=False)), **given}
            if _supports_chunking(named):
                return chunked_attention(named["query"], named["key"], named["value"], named.get("scale"))
        return func(*args, **given)


_SDPA_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _supports_chunking(arguments: Mapping[str, Any]) -> bool:
    """Whether this is plain attention: bf16 on the CPU, neither masked nor causal, and long enough to be worth it."""
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
    """softmax(query key^T scale) value.

    Args:
        query: (..., rows, width), at least two dimensions before the last.
        key, value: (..., keys, width), of the same dimensions in front.
        scale: of the products; None is 1 / sqrt(width).
    """
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    out = torch.empty((*query.shape[:-1], value.shape[-1]), dtype=query.dtype)
    parts = (tensor.flatten(0, -3) for tensor in (out, query, key, value))
    for result, queries, keys, values in zip(*parts, strict=True):
        for first in range(0, len(queries), ATTENTION_CHUNK):
            weights = torch.mm(queries[first : first + ATTENTION_CHUNK], keys.t()).softmax(-1)
            torch.mm(weights, values, out=result[first : first + ATTENTION_CHUNK])
    return out
