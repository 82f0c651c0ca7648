"""Pulls the levers that `artgen.acceleration` chose, on the parts of a kept pipeline, and lets go of them again."""

import contextlib
import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from artgen.acceleration import Plan
from artgen.engine import loading
from artgen.engine.decoding import bf16_decoder
from artgen.engine.device import Placement
from artgen.engine.graphs import CudaRecorder, Recorder, forget, graphed
from artgen.events import Listener
from artgen.registry import ResolvedModel
from artgen.registry.hashes import cache_home

_pulled: "weakref.WeakKeyDictionary[Any, Plan]" = weakref.WeakKeyDictionary()


def is_compiled(pipe: Any) -> bool:
    """Whether the denoiser of a pipeline runs compiled."""
    return _pulled.get(_denoiser(pipe), Plan()).compiled


def _denoiser(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or pipe.transformer


@contextlib.contextmanager
def accelerated(pipe: Any, plan: Plan, recorder: Recorder | None = None) -> Iterator[None]:
    """The pipeline with the levers of a plan for one call.

    What takes time to set up stays for the next call with the same plan, and is undone before one with another.

    Args:
        pipe: a diffusers pipeline whose parts are loaded.
        plan: what to use.
        recorder: records the denoiser's calls; CUDA graphs when not given.
    """
    _pull(pipe, plan)
    with contextlib.ExitStack() as stack:
        if plan.graph:
            denoiser = _denoiser(pipe)
            stack.enter_context(graphed(denoiser, recorder or CudaRecorder(denoiser.device)))
        if plan.bf16_decoder:
            stack.enter_context(bf16_decoder(pipe))
        yield


def load_plain(model: ResolvedModel, placement: Placement, listener: Listener) -> Any:
    """The model's pipeline, whole on its device and without any lever: for what calls its parts by themselves.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    pipe = loading.load(model, placement, offload=None, vae_tiling=False, safety_checker=False, listener=listener)
    _pull(pipe, Plan())
    return pipe


def _pull(pipe: Any, plan: Plan) -> None:
    denoiser = _denoiser(pipe)
    before = _pulled.get(denoiser, Plan())
    if before != plan:
        forget(denoiser)
        _lay_out(pipe, denoiser, before.channels_last, plan.channels_last)
        _fuse(denoiser, before.fused, plan.fused)
        _compile(denoiser, before.compiled, plan.compiled)
        _pulled[denoiser] = plan


def _lay_out(pipe: Any, denoiser: Any, before: bool, now: bool) -> None:
    if before != now:
        for module in (denoiser, pipe.vae):
            module.to(memory_format=torch.channels_last if now else torch.contiguous_format)


def _fuse(denoiser: Any, before: bool, now: bool) -> None:
    if before != now:
        (denoiser.fuse_qkv_projections if now else denoiser.unfuse_qkv_projections)()


def _compile(denoiser: nn.Module, before: bool, now: bool) -> None:
    """Compiles the blocks that repeat, each kind once: whole denoisers take several times longer."""
    if before == now:
        return
    # Kept between runs, beside artgen's other caches; torch reads it when it first compiles.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_home() / "inductor"))
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    for module in denoiser.modules():
        if type(module).__name__ in repeated:
            if now:
                module.forward = torch.compile(module.forward)
            else:
                del module.forward
