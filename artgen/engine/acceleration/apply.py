"""Pulls the levers that `artgen.engine.acceleration.policy` chose, on the parts of a kept pipeline, and lets go of them again."""

import contextlib
import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from artgen.engine.acceleration.cuda_graphs import CudaGraphRecorder, GraphRecorder, drop_graphs, with_cuda_graph
from artgen.engine.acceleration.decoders import use_bf16_decoder
from artgen.engine.acceleration.policy import OptimizationPlan
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.events import Listener
from artgen.registry import ResolvedModel
from artgen.system.paths import user_cache_folder

_applied: "weakref.WeakKeyDictionary[Any, OptimizationPlan]" = weakref.WeakKeyDictionary()


def is_compiled(pipe: Any) -> bool:
    """Whether the denoiser of a pipeline runs compiled."""
    return _applied.get(_denoiser(pipe), OptimizationPlan()).compiled


def _denoiser(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or pipe.transformer


@contextlib.contextmanager
def optimized(pipe: Any, plan: OptimizationPlan, recorder: GraphRecorder | None = None) -> Iterator[None]:
    """The pipeline with the levers of a plan for one call.

    What takes time to set up stays for the next call with the same plan, and is undone before one with another.

    Args:
        pipe: a diffusers pipeline whose parts are loaded.
        plan: what to use.
        recorder: records the denoiser's calls; CUDA graphs when not given.
    """
    _apply(pipe, plan)
    with contextlib.ExitStack() as stack:
        if plan.cuda_graph:
            denoiser = _denoiser(pipe)
            stack.enter_context(with_cuda_graph(denoiser, recorder or CudaGraphRecorder(denoiser.device)))
        if plan.bf16_decoder:
            stack.enter_context(use_bf16_decoder(pipe))
        yield


def load_unoptimized(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> Any:
    """The model's pipeline, whole on its device and without any lever: for what calls its parts by themselves.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = pipeline_cache.load_pipeline(
        model, device_config, offload=None, vae_tiling=False, safety_checker=False, listener=listener
    )
    _apply(pipe, OptimizationPlan())
    return pipe


def _apply(pipe: Any, plan: OptimizationPlan) -> None:
    denoiser = _denoiser(pipe)
    before = _applied.get(denoiser, OptimizationPlan())
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
    """Compiles the blocks that repeat, each kind once: whole denoisers take several times longer."""
    if was_enabled == enabled:
        return
    # Kept between runs, beside artgen's other caches; torch reads it when it first compiles.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_folder() / "inductor"))
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    for module in denoiser.modules():
        if type(module).__name__ in repeated:
            if enabled:
                module.forward = torch.compile(module.forward)
            else:
                del module.forward
