"""How sparingly memory is used from one device batch to the next: as planned, and as running out of it taught."""

from dataclasses import replace
from typing import Any

from artgen import fitting
from artgen.engine import loading
from artgen.engine.device import DeviceConfig
from artgen.engine.memory import MemorySettings, plan_memory
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, Notice
from artgen.prepare import Job
from artgen.settings import MAX_BATCH_SIZE

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
    if memory_settings.allow_cuda_graphs and loading.drop_cuda_graphs():
        loading.empty_cuda_cache()
        listener(Notice("out of memory; trying again without CUDA graphs"))
        return replace(memory_settings, allow_cuda_graphs=False)
    tighter = memory_settings.next_fallback(device_config, batch_size)
    if tighter is None or tighter.offload != memory_settings.offload:
        loading.clear_cache()
    else:
        loading.empty_cuda_cache()
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
        request.model, request.device, request.dtype, request.weights, request.offload, request.memory_budget,
        request.vae_tiling, request.safety_checker, fitting.text_encoders_inseparable_reason(job.model, job.loras),
        MemorySettings.from_request(request, 1).excluded_mode,
    )  # fmt: skip
