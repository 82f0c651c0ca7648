"""A CUDA graph of the denoiser's call: recorded once, then launched as a whole.

A small denoiser drawing one picture launches hundreds of kernels a step, each of which takes longer to launch than to
run. https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs says what a graph demands: the same shapes, the
same addresses of inputs and outputs, a warm-up on another stream.
"""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import nn

MAX_CACHED_GRAPHS = 4
"""Graphs that are kept; each holds what goes in and comes out, and all one memory that their calls work in."""
_WARMUP_RUNS = 3

Tensors = tuple[torch.Tensor, ...]
CaptureFn = Callable[[], Tensors]


class GraphRecorder(Protocol):
    """Records work that reads tensors at fixed addresses."""

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        """Its outputs, at fixed addresses too, and what does the work again."""


@functools.cache
def _capture_stream(device_index: int) -> Any:
    """The stream that a device's recordings are made on: cuBLAS keeps memory for every stream that it has worked on."""
    return torch.cuda.Stream(device_index)  # type: ignore[no-untyped-call]


class CudaGraphRecorder:
    """Records into CUDA graphs.

    They share the memory that they work in: each one's outputs are read before another runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        """Raises RuntimeError where the work waits for the device; that is found before a capture, which it breaks."""
        with torch.cuda.device(self._device):  # streams and captures are those of the current one
            stream, here = _capture_stream(torch.cuda.current_device()), torch.cuda.current_stream()
            stream.wait_stream(here)
            with torch.cuda.stream(stream), _raise_on_sync():
                for _ in range(_WARMUP_RUNS):
                    capture_fn()
            here.wait_stream(stream)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                    outputs = capture_fn()
            except BaseException:
                self._pool = None  # a capture that fails may leave its memory marked as in use
                raise
            finally:
                torch.cuda.set_stream(here)  # and its own stream as the current one
        return outputs, graph.replay


@contextlib.contextmanager
def _raise_on_sync() -> Iterator[None]:
    """Lets work that waits for the device raise a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class GraphedModule:
    """A module's `forward` that is recorded when it is called in the same way a second time.

    What cannot be recorded, and what a recording does not repeat bit for bit when it is tried, runs as before.
    """

    def __init__(self, forward: Callable[..., Any], recorder: GraphRecorder) -> None:
        self._forward = forward
        self._recorder = recorder
        self._seen_keys: set[Any] = set()
        self._uncapturable: set[Any] = set()
        self._graphs: OrderedDict[Any, tuple[Tensors, Tensors, Callable[[], None]]] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs: list[torch.Tensor] = []
        layout = _flatten((args, kwargs), inputs)
        key = (layout, tuple((t.shape, t.dtype, t.device, t.stride()) for t in inputs))
        if layout is None or torch.is_grad_enabled() or key in self._uncapturable:
            return self._forward(*args, **kwargs)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._replay(key, inputs)
        if key not in self._seen_keys:
            self._seen_keys.add(key)
            return self._forward(*args, **kwargs)
        return self._capture(key, layout, inputs)

    def _capture(self, key: Any, tree_spec: Any, inputs: list[torch.Tensor]) -> Any:
        static = tuple(tensor.clone() for tensor in inputs)
        args, kwargs = _unflatten(tree_spec, iter(static))
        exact = self._forward(*args, **kwargs)
        if not _is_tensor_tuple(exact):
            self._uncapturable.add(key)
            return exact
        try:
            outputs, again = self._recorder.record(lambda: self._forward(*args, **kwargs))
            self._graphs[key] = (static, outputs, again)
            for output in outputs:
                output.zero_()  # what a recording does not write must not look as if it did
            repeated = self._replay(key, inputs)
        except RuntimeError:  # what torch raises for work that no graph can hold, such as waiting for the device
            self._graphs.pop(key, None)
            self._uncapturable.add(key)
            return exact
        if not all(torch.equal(a, b) for a, b in zip(repeated, exact, strict=True)):
            del self._graphs[key]
            self._uncapturable.add(key)
        while len(self._graphs) > MAX_CACHED_GRAPHS:
            self._graphs.popitem(last=False)
        return exact

    def _replay(self, key: Any, inputs: list[torch.Tensor]) -> Tensors:
        static, outputs, again = self._graphs[key]
        for place, tensor in zip(static, inputs, strict=True):
            place.copy_(tensor)
        again()
        # The next call overwrites them, and schedulers remember what a denoiser said before.
        return tuple(tensor.clone() for tensor in outputs)


@contextlib.contextmanager
def with_cuda_graph(module: nn.Module, recorder: GraphRecorder) -> Iterator[None]:
    """The module with its calls recorded; the recordings are kept with it for the next time.

    Args:
        module: called without gradients, with tensors, numbers, texts, and dicts and tuples of these; what it gives
            is recorded when it is a tuple of tensors.
        recorder: `CudaRecorder` for a module on a CUDA device.
    """
    kept = module.__dict__.setdefault("_artgen_graphed", GraphedModule(module.forward, recorder))
    module.forward = kept
    try:
        yield
    finally:
        del module.forward


def drop_graphs(module: nn.Module) -> bool:
    """Drops what was recorded of a module, and the memory it works in; says whether anything was."""
    return module.__dict__.pop("_artgen_graphed", None) is not None


def _is_tensor_tuple(outputs: Any) -> bool:
    return isinstance(outputs, tuple) and all(isinstance(output, torch.Tensor) for output in outputs)


def _flatten(value: Any, tensors: list[torch.Tensor]) -> Any:
    """A hashable description of nested arguments, whose tensors go to a list; None for what has none."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return "tensor"
    if value is None or isinstance(value, bool | int | float | str):
        return ("value", type(value), value)
    if isinstance(value, tuple | list):
        parts = tuple(_flatten(part, tensors) for part in value)
        return None if None in parts else (type(value), parts)
    if isinstance(value, dict):
        parts = tuple((name, _flatten(part, tensors)) for name, part in value.items())
        return None if any(part is None for _, part in parts) else (dict, parts)
    return None


def _unflatten(tree_spec: Any, tensors: Iterator[torch.Tensor]) -> Any:
    if tree_spec == "tensor":
        return next(tensors)
    if tree_spec[0] == "value":
        return tree_spec[2]
    kind, parts = tree_spec
    if kind is dict:
        return {name: _unflatten(part, tensors) for name, part in parts}
    return kind(_unflatten(part, tensors) for part in parts)
