"""Apply and revert the selected optimizations on a cached pipeline."""

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from artgen.engine.acceleration.cuda_graphs import CudaGraphRecorder, GraphRecorder, drop_graphs, with_cuda_graph
from artgen.engine.acceleration.decoders import use_bf16_decoder
from artgen.engine.acceleration.policy import OptimizationPlan
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.components import denoiser_of
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ArtgenError, OutputError
from artgen.events import Listener
from artgen.registry import ResolvedModel
from artgen.system.cache_folders import use_cache_folder
from artgen.system.command_state import register_reset

_NO_OPTIMIZATIONS = OptimizationPlan()

_applied: "weakref.WeakKeyDictionary[Any, OptimizationPlan]" = weakref.WeakKeyDictionary()

_failed_models: set[ResolvedModel] = set()
register_reset(_failed_models.clear)


@register_reset
def _end_compiler_processes() -> None:
    """End the processes of `torch.compile`, which would keep the streams of a client of the worker open."""
    if compiler := sys.modules.get("torch._inductor.async_compile"):
        compiler.shutdown_compile_workers()


class OptimizationError(Exception):
    """Report that an optimization failed; the pipeline may be modified and must be loaded again."""


def is_compiled(pipe: Any) -> bool:
    """Return whether the denoiser of a pipeline is compiled."""
    return _applied.get(denoiser_of(pipe), _NO_OPTIMIZATIONS).compiled


@register_reset
def _remove_compiled_blocks() -> None:
    """Remove compiled blocks after a command of a resident process.

    Later commands must decide anew whether a compilation pays off, and torch compiles other kernels for the second size
    of an input.
    """
    compiled = [(denoiser, plan) for denoiser, plan in _applied.items() if plan.compiled]
    for denoiser, plan in compiled:
        _compile_blocks(denoiser, True, False)
        _applied[denoiser] = replace(plan, compiled=False)
    if compiled:
        torch.compiler.reset()


@contextlib.contextmanager
def optimized(pipe: Any, plan: OptimizationPlan, recorder: GraphRecorder | None = None) -> Iterator[None]:
    """Run a block with a plan's optimizations on a pipeline.

    Optimizations that are slow to apply remain on the pipeline. The next call with another plan reverts them.

    Args:
        pipe: diffusers pipeline whose components are loaded.
        plan: optimizations to use.
        recorder: recorder of the denoiser's calls; CUDA graphs by default.

    Raises:
        OptimizationError: an exception other than ArtgenError, an out-of-memory error or a lost device, raised while
            the optimizations are applied or by the block.
    """
    plan = replace(plan, openvino=False)  # `openvino.denoiser.with_openvino` applies it
    if plan == _NO_OPTIMIZATIONS == _applied.get(denoiser_of(pipe), _NO_OPTIMIZATIONS):
        yield
        return
    try:
        _apply(pipe, plan)
        with contextlib.ExitStack() as stack:
            if plan.cuda_graph:
                denoiser = denoiser_of(pipe)
                stack.enter_context(with_cuda_graph(denoiser, recorder or CudaGraphRecorder(denoiser.device)))
            if plan.bf16_decoder:
                stack.enter_context(use_bf16_decoder(pipe))
            yield
    except ArtgenError:
        raise
    except Exception as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise OptimizationError(first_line(error)) from error


def disable_optimizations(model: ResolvedModel) -> None:
    """Disable optimizations for a model in this process, after one has failed."""
    _failed_models.add(model)


def optimizations_disabled(model: ResolvedModel) -> bool:
    """Return whether `disable_optimizations` was called for this model."""
    return model in _failed_models


def load_unoptimized(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> Any:
    """Return a model's pipeline on its device without optimizations, for code that calls its components.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = pipeline_cache.load_pipeline(
        model, device_config, offload=None, vae_tiling=False, safety_checker=False, listener=listener
    )
    _apply(pipe, _NO_OPTIMIZATIONS)
    return pipe


def _apply(pipe: Any, plan: OptimizationPlan) -> None:
    denoiser = denoiser_of(pipe)
    before = _applied.get(denoiser, _NO_OPTIMIZATIONS)
    if before != plan:
        drop_graphs(denoiser)
        _set_memory_format(pipe, denoiser, before.channels_last, plan.channels_last)
        _fuse_qkv(denoiser, before.fused_qkv, plan.fused_qkv)
        _compile_blocks(denoiser, before.compiled, plan.compiled)
        _applied[denoiser] = plan


def _set_memory_format(pipe: Any, denoiser: Any, was_channels_last: bool, channels_last: bool) -> None:
    if was_channels_last != channels_last:
        for module in (denoiser, pipe.vae):
            module.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _fuse_qkv(denoiser: Any, was_enabled: bool, enabled: bool) -> None:
    if was_enabled != enabled:
        (denoiser.fuse_qkv_projections if enabled else denoiser.unfuse_qkv_projections)()


def _compile_blocks(denoiser: nn.Module, was_enabled: bool, enabled: bool) -> None:
    """Compile each kind of repeated block once: the compilation of a complete denoiser takes several times longer."""
    if was_enabled == enabled:
        return
    # torch reads this variable at the first compilation. The cache is reused by later processes.
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        with contextlib.suppress(OutputError):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(use_cache_folder("inductor"))
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    for module in denoiser.modules():
        if type(module).__name__ in repeated:
            if enabled:
                module.forward = torch.compile(module.forward)
            else:
                del module.forward
