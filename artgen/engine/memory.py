"""Running out of memory, and what to try before giving up.

The order costs least first: fewer pictures at a time, the decoder in tiles, parts of the model in main memory.
Seeds stay the same throughout, and what was done is recorded.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from artgen import approximations, budget, fitting, machine
from artgen.engine.device import DeviceConfig
from artgen.events import Listener, PlanNote
from artgen.prepare import Job
from artgen.registry import estimate_memory
from artgen.requests import PromptRequest

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


@dataclass(frozen=True)
class MemorySettings:
    """How sparingly memory is used.

    Attributes:
        batch_size: pictures at a time, 1 or more.
        vae_tiling: decode in tiles.
        offload: None or one of `artgen.budget.MODES`.
        fallbacks: what was done because memory ran out, in order.
        auto: whether artgen chose how to offload, and may choose again.
        excluded_mode: a way of offloading that it must not choose: an approximation that skips layers cannot have them fetch
            each other.
        allow_cuda_graphs: whether CUDA graphs may be recorded; they hold the memory that a call works in.
    """

    batch_size: int
    vae_tiling: bool
    offload: str | None
    fallbacks: tuple[str, ...] = ()
    auto: bool = False
    excluded_mode: str | None = None
    allow_cuda_graphs: bool = True

    @classmethod
    def from_request(cls, request: PromptRequest, batch_size: int) -> "MemorySettings":
        """What the request asks for; with `auto`, nothing is offloaded until `planned` says so."""
        automatic = request.offload == "auto"
        skips = any(entry.name == "cache" for entry in approximations.parse_presets(request.fast))
        return cls(
            batch_size,
            bool(request.vae_tiling),
            "none" if automatic else request.offload,
            auto=automatic,
            excluded_mode="group" if skips else None,
        )

    def next_fallback(self, device_config: DeviceConfig, batch_size: int) -> "MemorySettings | None":
        """The next thing to try, None when nothing is left. An explicit `--offload` is never overridden.

        Args:
            device_config: where the model runs; only a GPU can offload.
            batch_size: how many pictures were drawn together when memory ran out.
        """
        if batch_size > 1:
            size = batch_size // 2
            return self._with_fallback(f"batch size {size}", batch_size=size)
        if not self.vae_tiling:
            return self._with_fallback("vae tiling", vae_tiling=True)
        if device_config.is_gpu and self.offload is None:
            return self._with_fallback("offload model", offload="model")
        if device_config.is_gpu and self.auto and self.offload != budget.OFFLOAD_MODES[-1]:
            modes = [mode for mode in budget.OFFLOAD_MODES if mode != self.excluded_mode]
            costlier = modes[modes.index(self.offload or "none") + 1]
            return self._with_fallback(f"offload {costlier}", offload=costlier)
        return None

    def _with_fallback(self, fallback: str, **changes: object) -> "MemorySettings":
        return dataclasses.replace(self, fallbacks=(*self.fallbacks, fallback), **changes)  # type: ignore[arg-type]


def plan_memory(
    memory_settings: MemorySettings, job: Job, batch_size: int, device_config: DeviceConfig, listener: Listener
) -> MemorySettings:
    """The economy with the cheapest way of offloading that fits the free memory, where `auto` asks for it.

    On the CPU where nothing was asked for, too: there, what does not fit ends the process. Fewer pictures at a time
    cost less than moving the model to and fro, so they are tried first.

    Args:
        memory_settings: of the job.
        job: the first of those that are drawn together.
        batch_size: how many they are.
        device_config: where; on MPS, whose memory is the machine's own, nothing is offloaded.
        listener: is told what was chosen, and why.
    """
    on_cpu, request = device_config.device == "cpu", job.prompt_request
    if not memory_settings.auto and not (on_cpu and memory_settings.offload is None):
        return memory_settings
    there = (
        available_bytes(device_config, request.memory_budget)
        if on_cpu or device_config.device.startswith("cuda")
        else None
    )
    if there is None:
        return memory_settings
    apart = on_cpu and not fitting.text_encoders_inseparable_reason(job.model, job.loras)

    def chosen(rows: int) -> budget.OffloadPlan:
        guided = rows * (2 if request.uses_cfg else 1)
        wanted = estimate_memory(job.model, device_config.dtype, job.size, guided, fp8=device_config.quantize == "fp8")
        if on_cpu:
            return budget.choose_offload_on_cpu(
                wanted, there, vae_tiling=memory_settings.vae_tiling, separable_text_encoders=apart
            )
        return budget.choose_offload(
            wanted, there, vae_tiling=memory_settings.vae_tiling, excluded_mode=memory_settings.excluded_mode
        )

    choice, alone, together = chosen(batch_size), chosen(1), batch_size
    if not memory_settings.auto and alone.offload == "none":
        return memory_settings
    while choice.mode != alone.mode:
        together //= 2
        choice = chosen(together)
    fewer = f", {together} of {batch_size} pictures at a time" if together < batch_size else ""
    listener(PlanNote(f"{choice}{fewer}"))
    return dataclasses.replace(
        memory_settings,
        batch_size=together if together < batch_size else memory_settings.batch_size,
        offload=choice.offload,
        vae_tiling=choice.vae_tiling,
        auto=True,
    )


def available_bytes(device_config: DeviceConfig, memory_budget: str | None) -> int | None:
    """Bytes of memory that a model and its pictures may take, what this process holds of them included.

    Of the GPU's, or on the CPU of main memory; None where neither the system nor the user says how much there is.
    """
    known = [budget.parse_bytes(memory_budget)] if memory_budget else []
    if device_config.is_gpu:
        known.append(
            torch.cuda.mem_get_info(device_config.device)[0] + torch.cuda.memory_reserved(device_config.device)
        )
    elif (available := machine.available_ram()) is not None:
        known.append(available)
    return min(known, default=None)


@contextlib.contextmanager
def memory_limit(device_config: DeviceConfig, memory_budget: str | None) -> Iterator[None]:
    """Keeps torch within a budget of GPU memory: what goes beyond it runs out of memory, as on a smaller GPU."""
    if memory_budget is None or not device_config.is_gpu:
        yield
        return
    total = torch.cuda.get_device_properties(device_config.device).total_memory
    share = min(1.0, budget.parse_bytes(memory_budget) / total)
    index = torch.device(device_config.device).index
    index = torch.cuda.current_device() if index is None else index  # this function alone wants to know
    torch.cuda.set_per_process_memory_fraction(share, index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
