"""Running out of memory, and what to try before giving up.

The order costs least first: fewer pictures at a time, the decoder in tiles, parts of the model in main memory.
Seeds stay the same throughout, and what was done is recorded.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, Notice, PlanNote
from artgen.jobs import checks
from artgen.jobs.prepare import Job
from artgen.registry import estimate_memory
from artgen.spec import fast
from artgen.spec import memory_budget as budget
from artgen.spec.requests import PromptRequest
from artgen.spec.settings import MAX_BATCH_SIZE
from artgen.system import hardware


@dataclass(frozen=True)
class MemorySettings:
    """How sparingly memory is used.

    Attributes:
        batch_size: pictures at a time, 1 or more.
        vae_tiling: decode in tiles.
        offload: None or one of `artgen.spec.memory_budget.MODES`.
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
        skips = any(entry.name == "cache" for entry in fast.parse_presets(request.fast))
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
    apart = on_cpu and not checks.text_encoders_inseparable_reason(job.model, job.loras)

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
    elif (available := hardware.available_ram()) is not None:
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


OomHistory = dict[tuple[Any, ...], tuple[int, MemorySettings]]
"""What running out of memory taught: resources -> how many values at a time it was, and how they were drawn."""


class MemoryPolicy:
    """How sparingly memory is used from one device batch to the next."""

    def __init__(self, oom_history: OomHistory, listener: Listener) -> None:
        """`oom_history` is kept up to date."""
        self._oom_history = oom_history
        self._listener = listener
        self._resource_key: tuple[Any, ...] = ()
        self._max_planned_pixels = 0  # values at a time that the economy was planned for
        self._settings: MemorySettings

    def settings_for(self, job: Job, batch_size: int, device_config: DeviceConfig) -> MemorySettings:
        """The economy for so many pictures like this one; planned anew where they take more than those before."""
        wanted = resource_key(job)
        values = batch_size * job.width * job.height * (2 if job.prompt_request.uses_cfg else 1)
        if wanted != self._resource_key:
            self._resource_key, self._max_planned_pixels, self._settings = (
                wanted,
                0,
                MemorySettings.from_request(job.prompt_request, MAX_BATCH_SIZE),
            )
            if wanted in self._oom_history and values >= self._oom_history[wanted][0]:
                self._max_planned_pixels, self._settings = self._oom_history[wanted]
        if values > self._max_planned_pixels:
            self._max_planned_pixels = values
            if not self._settings.fallbacks:  # where memory ran out, that is known better than any plan
                batch_size = min(batch_size, self._settings.batch_size)
                self._settings = plan_memory(self._settings, job, batch_size, device_config, self._listener)
        return self._settings

    def degrade(self, device_config: DeviceConfig, job: Job, batch_size: int) -> None:
        """Takes note that memory ran out with so many pictures at a time.

        Raises:
            MemoryExhaustedError: nothing is left to try.
        """
        self._settings = _next_settings(self._settings, device_config, job, batch_size, self._listener)
        self._oom_history[self._resource_key] = self._max_planned_pixels, self._settings


def _next_settings(
    memory_settings: MemorySettings, device_config: DeviceConfig, job: Job, batch_size: int, listener: Listener
) -> MemorySettings:
    if memory_settings.allow_cuda_graphs and pipeline_cache.drop_cuda_graphs():
        pipeline_cache.empty_cuda_cache()
        listener(Notice("out of memory; trying again without CUDA graphs"))
        return replace(memory_settings, allow_cuda_graphs=False)
    tighter = memory_settings.next_fallback(device_config, batch_size)
    if tighter is None or tighter.offload != memory_settings.offload:
        pipeline_cache.clear_cache()
    else:
        pipeline_cache.empty_cuda_cache()
    if tighter is None:
        raise MemoryExhaustedError(
            f"Out of memory on {device_config.device} for {job.width}x{job.height}, after {_list_fallbacks(memory_settings)}.",
            "Use a smaller --size or model, or --offload sequential with a GPU.",
        )
    listener(Notice(f"out of memory; trying again with {tighter.fallbacks[-1]}"))
    return tighter


def _list_fallbacks(memory_settings: MemorySettings) -> str:
    return ", ".join(memory_settings.fallbacks) or "the settings given (no fallback applies)"


def resource_key(job: Job) -> tuple[Any, ...]:
    """What an economy depends on beside the size of the picture."""
    request = job.prompt_request
    return (
        request.model, request.device, request.dtype, request.quantize, request.offload, request.memory_budget,
        request.vae_tiling, request.safety_checker, checks.text_encoders_inseparable_reason(job.model, job.loras),
        MemorySettings.from_request(request, 1).excluded_mode,
    )  # fmt: skip
