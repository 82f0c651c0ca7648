"""Capture the denoiser's call in a CUDA graph and launch the graph as one unit.

For one image, a small denoiser launches hundreds of kernels per step, and each launch takes longer than the kernel.
A graph requires fixed shapes, fixed addresses of inputs and outputs, and warm-up runs on another stream
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import nn

MAX_CACHED_GRAPHS = 4
"""Maximum number of graphs per module. Each graph stores its inputs and outputs; all graphs share one memory pool."""
_WARMUP_RUNS = 3

Tensors = tuple[torch.Tensor, ...]
CaptureFn = Callable[[], Tensors]


class GraphRecorder(Protocol):
    """Record work that reads tensors at fixed addresses."""

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        """Return the outputs, also at fixed addresses, and a function that repeats the work."""


@functools.cache
def _capture_stream(device_index: int) -> Any:
    """Return the capture stream of a device; one per device, because cuBLAS allocates a workspace for each stream."""
    return torch.cuda.Stream(device_index)  # type: ignore[no-untyped-call]


class CudaGraphRecorder:
    """Record work in CUDA graphs.

    The graphs share one memory pool: the outputs of a graph must be read before another graph is launched.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        """Capture the work.

        Work that synchronizes with the device breaks a capture. The warm-up runs detect it.

        Raises:
            RuntimeError: the work synchronizes with the device, or the capture fails.
        """
        with torch.cuda.device(self._device):  # Streams and captures belong to the current device.
            stream, current_stream = _capture_stream(torch.cuda.current_device()), torch.cuda.current_stream()
            stream.wait_stream(current_stream)
            with torch.cuda.stream(stream), _raise_on_sync():
                for _ in range(_WARMUP_RUNS):
                    capture_fn()
            current_stream.wait_stream(stream)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                    outputs = capture_fn()
            except BaseException:
                self._pool = None  # After a failed capture, torch may count the pool's memory as used.
                raise
            finally:
                torch.cuda.set_stream(current_stream)  # A failed capture leaves its own stream as the current one.
        return outputs, graph.replay


@contextlib.contextmanager
def _raise_on_sync() -> Iterator[None]:
    """Make work that synchronizes with the device raise a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class GraphedModule:
    """Wrap a module's `forward`: capture the second call with the same argument shapes, and replay it in later calls.

    Calls with arguments or outputs that a graph does not support run `forward`.
    """

    def __init__(self, forward: Callable[..., Any], recorder: GraphRecorder) -> None:
        self._forward = forward
        self._recorder = recorder
        self._seen_keys: set[Any] = set()
        self._uncapturable: set[Any] = set()
        self._graphs: OrderedDict[Any, tuple[Tensors, Tensors, Callable[[], None]]] = OrderedDict()

    @property
    def num_graphs(self) -> int:
        """Return the number of cached graphs."""
        return len(self._graphs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` or replay its graph.

        Raises:
            RuntimeError: the recording failed or did not reproduce the output of `forward`.
        """
        inputs: list[torch.Tensor] = []
        tree_spec = _flatten((args, kwargs), inputs)
        key = (tree_spec, tuple((t.shape, t.dtype, t.device, t.stride()) for t in inputs))
        if tree_spec is None or torch.is_grad_enabled() or key in self._uncapturable:
            return self._forward(*args, **kwargs)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._replay(key, inputs)
        if key not in self._seen_keys:
            self._seen_keys.add(key)
            return self._forward(*args, **kwargs)
        return self._capture(key, tree_spec, inputs)

    def _capture(self, key: Any, tree_spec: Any, inputs: list[torch.Tensor]) -> Any:
        static = tuple(tensor.clone() for tensor in inputs)
        args, kwargs = _unflatten(tree_spec, iter(static))
        exact = self._forward(*args, **kwargs)
        if not _is_tensor_tuple(exact):
            self._uncapturable.add(key)
            return exact
        outputs, replay = self._recorder.record(lambda: self._forward(*args, **kwargs))
        for output in outputs:
            output.zero_()  # Otherwise, an output that the graph does not write would pass the comparison.
        self._graphs[key] = (static, outputs, replay)
        if not all(torch.equal(a, b) for a, b in zip(self._replay(key, inputs), exact, strict=True)):
            del self._graphs[key]
            raise RuntimeError("the CUDA graph does not reproduce the output of the denoiser")
        while len(self._graphs) > MAX_CACHED_GRAPHS:
            self._graphs.popitem(last=False)
        return exact

    def _replay(self, key: Any, inputs: list[torch.Tensor]) -> Tensors:
        static, outputs, replay = self._graphs[key]
        for target, tensor in zip(static, inputs, strict=True):
            target.copy_(tensor)
        replay()
        # The next replay overwrites the outputs, and multistep schedulers store earlier outputs.
        return tuple(tensor.clone() for tensor in outputs)


@contextlib.contextmanager
def with_cuda_graph(module: nn.Module, recorder: GraphRecorder) -> Iterator[None]:
    """Replace a module's `forward` by a `GraphedModule` within the block. The graphs stay cached for later blocks.

    Args:
        module: called without gradients. Supported arguments: tensors, numbers, strings, None, and dicts, lists and
            tuples of these. Supported output: a tuple of tensors.
        recorder: a `CudaGraphRecorder` for a module on a CUDA device.
    """
    graphed = module.__dict__.setdefault("_artgen_graphed", GraphedModule(module.forward, recorder))
    module.forward = graphed
    try:
        yield
    finally:
        del module.forward


def cached_graphs(module: nn.Module) -> int:
    """Return the number of cached graphs of a module."""
    graphed = module.__dict__.get("_artgen_graphed")
    return 0 if graphed is None else int(graphed.num_graphs)


def drop_graphs(module: nn.Module) -> bool:
    """Release a module's graphs and their memory. Return whether `with_cuda_graph` was used on the module."""
    return module.__dict__.pop("_artgen_graphed", None) is not None


def _is_tensor_tuple(outputs: Any) -> bool:
    return isinstance(outputs, tuple) and all(isinstance(output, torch.Tensor) for output in outputs)


def _flatten(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return a hashable description of nested arguments and append their tensors; None for unsupported arguments."""
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
