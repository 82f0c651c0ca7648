"""Select the memory settings of each pipeline call, and reduce the memory use after an out-of-memory error.

The cheapest measure comes first: a smaller batch size, then tiled VAE decoding, then CPU offloading. Seeds do not
change. The record lists the fallbacks that were used.
"""

import dataclasses
from typing import Any

from artgen.engine.control.nets import net_bytes
from artgen.engine.image_prompts.encoder import adapter_bytes
from artgen.engine.loading import free_memory, loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_settings import MemorySettings
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, Notice, PlanNote
from artgen.jobs import checks
from artgen.jobs.job import GenerationJob, PipelineJob
from artgen.jobs.pipeline_options import denoiser_inputs
from artgen.jobs.size import pipeline_size
from artgen.registry import ResolvedModel, estimate_memory
from artgen.registry.memory import DTYPE_BYTES
from artgen.spec import memory_budget as budget
from artgen.spec.settings import MAX_BATCH_SIZE, settings_of

CPU = DeviceConfig("cpu", "fp32")


OomHistory = dict[tuple[Any, ...], tuple[int, MemorySettings]]
"""Result of earlier out-of-memory errors: `resource_key` -> pixels per pipeline call, and the reduced settings."""


class MemoryPolicy:
    """Select the memory settings of consecutive pipeline calls."""

    def __init__(self, oom_history: OomHistory, listener: Listener) -> None:
        """Create a policy that reads and updates `oom_history`."""
        self._oom_history = oom_history
        self._listener = listener
        self._resource_key: tuple[Any, ...] = ()
        self._planned_pixels = 0  # pixels per pipeline call that `_settings` were planned for
        self._settings = MemorySettings(MAX_BATCH_SIZE, vae_tiling=False, offload=None)

    def settings_for(self, job: PipelineJob, batch_size: int, device_config: DeviceConfig) -> MemorySettings:
        """Return the settings for `batch_size` images with the settings of this job.

        The settings are planned again if the images need other resources, or more memory than the images before.
        """
        width, height = pipeline_size(job.request, job.model, job.size)
        pixels = batch_size * width * height * denoiser_inputs(job.request, job.model.pipeline_entry)
        if (key := resource_key(job)) != self._resource_key:
            self._resource_key = key
            self._planned_pixels = 0
            self._settings = MemorySettings.from_request(job.request, MAX_BATCH_SIZE)
            if key in self._oom_history and pixels >= self._oom_history[key][0]:
                self._planned_pixels, self._settings = self._oom_history[key]
        if pixels > self._planned_pixels:
            self._planned_pixels = pixels
            if not self._settings.fallbacks:  # an out-of-memory error is more reliable than an estimate
                batch_size = min(batch_size, self._settings.batch_size)
                self._settings = plan_memory(self._settings, job, batch_size, device_config, self._listener)
        return self._settings

    def degrade(self, device_config: DeviceConfig, job: PipelineJob, batch_size: int) -> None:
        """Reduce the memory use after an out-of-memory error with `batch_size` images per pipeline call.

        Idle models are unloaded first, which changes no setting.

        Raises:
            MemoryExhaustedError: No fallback remains.
        """
        loaded_models.unload_after_command()
        if loaded_models.unload_idle():
            return
        if self._settings.allow_cuda_graphs and pipeline_cache.drop_cuda_graphs():
            loaded_models.empty_device_cache()
            self._listener(Notice("Out of memory. Retrying without CUDA graphs."))
            self._settings = dataclasses.replace(self._settings, allow_cuda_graphs=False)
        else:
            self._settings = self._apply_next_fallback(device_config, job, batch_size)
        self._oom_history[self._resource_key] = self._planned_pixels, self._settings

    def _apply_next_fallback(self, device_config: DeviceConfig, job: PipelineJob, batch_size: int) -> MemorySettings:
        reduced = self._settings.next_fallback(device_config, batch_size)
        if reduced is None or reduced.offload != self._settings.offload:
            pipeline_cache.clear_cache()
        else:
            loaded_models.empty_device_cache()
        if reduced is None:
            tried = ", ".join(self._settings.fallbacks)
            raise MemoryExhaustedError(
                f"Cannot generate {job.width}x{job.height} on {device_config.device}: out of memory"
                + (f" after {tried}." if tried else "; no fallback applies to these settings."),
                "Use a smaller --size or model, or --offload sequential with a GPU.",
            )
        self._listener(Notice(f"Out of memory. Retrying with {reduced.fallbacks[-1]}."))
        return reduced


def plan_memory(
    memory_settings: MemorySettings,
    job: PipelineJob,
    batch_size: int,
    device_config: DeviceConfig,
    listener: Listener,
) -> MemorySettings:
    """Return the settings with the cheapest offload mode that fits the available memory.

    A mode is selected for `--offload auto`. On the CPU a mode is also selected if `--offload` is unset, because the
    system kills a process that exceeds main memory. A smaller batch size costs less than offloading and comes first.

    Args:
        memory_settings: Settings of the job.
        job: First job of the pipeline call.
        batch_size: Images per pipeline call.
        device_config: Device of the model. On MPS, which shares main memory, nothing is offloaded.
        listener: Receives a `PlanNote` with the selected mode.
    """
    on_cpu, request = device_config.device == "cpu", job.request
    if not memory_settings.auto and not (on_cpu and memory_settings.offload is None):
        return memory_settings
    if not on_cpu and not device_config.device.startswith("cuda"):
        return memory_settings
    budget_bytes = free_memory.available_bytes(device_config, request.memory_budget)
    if budget_bytes is None:
        return memory_settings

    def choose(size: int) -> budget.OffloadPlan:
        return _choose_offload(memory_settings, job, size, device_config, budget_bytes)

    plan, single_image_plan, fitting_size = choose(batch_size), choose(1), batch_size
    if not memory_settings.auto and single_image_plan.offload == "none":
        return memory_settings
    while plan.mode != single_image_plan.mode:
        fitting_size //= 2
        plan = choose(fitting_size)
    reduced = fitting_size < batch_size
    listener(PlanNote(f"{plan}, batch size {fitting_size} instead of {batch_size}" if reduced else f"{plan}"))
    return dataclasses.replace(
        memory_settings,
        batch_size=fitting_size if reduced else memory_settings.batch_size,
        offload=plan.offload,
        vae_tiling=plan.vae_tiling and memory_settings.allow_vae_tiling,
        auto=True,
    )


def _choose_offload(
    memory_settings: MemorySettings, job: PipelineJob, batch_size: int, device_config: DeviceConfig, budget_bytes: int
) -> budget.OffloadPlan:
    """Return the cheapest offload mode for `batch_size` images within a memory budget."""
    estimate = _estimate(job.model, job, batch_size, device_config)
    if device_config.device == "cpu":
        separable = not checks.text_encoders_inseparable_reason(job.model, job.loras)
        return budget.choose_offload_on_cpu(
            estimate, budget_bytes, vae_tiling=memory_settings.vae_tiling, separable_text_encoders=separable
        )
    return budget.choose_offload(
        estimate, budget_bytes, vae_tiling=memory_settings.vae_tiling, excluded_mode=memory_settings.excluded_mode
    )


def make_room(
    model: ResolvedModel,
    job: PipelineJob,
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
) -> None:
    """Unload idle models until a model and a pipeline call fit into the memory. See `fits_beside` for the arguments."""
    if not loaded_models.has_idle():
        return
    offload, tiling = memory_settings.offload or "none", memory_settings.vae_tiling
    estimate = _estimate(model, job, batch_size, device_config)
    if device_config.device == "cpu":
        required = budget.peak_bytes_on_cpu(estimate, offload, tiling)
    else:
        required = budget.estimate_peak_bytes(estimate, offload, tiling)
        if offload != "none":  # the weights are in main memory
            free_memory.make_room(budget.peak_bytes_on_cpu(estimate, "none", True), CPU)
    if model is not job.model:  # the base model of a refiner can be loaded
        required += free_memory.loaded_bytes(device_config, active=True)
    free_memory.make_room(required, device_config, job.request.memory_budget)


def fits_beside(
    model: ResolvedModel,
    job: PipelineJob,
    batch_size: int,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
) -> bool:
    """Return whether another model fits into the memory beside the active models. Idle models count as free memory.

    Args:
        model: the other model, such as a refiner.
        job: first job of the pipeline call.
        batch_size: images per pipeline call.
        device_config, memory_settings: as for the active model.
    """
    estimate = _estimate(model, job, batch_size, device_config)
    required = budget.estimate_peak_bytes(estimate, memory_settings.offload or "none", memory_settings.vae_tiling)
    is_on_gpu = device_config.device.startswith("cuda") and memory_settings.offload in (None, "none")
    place = device_config if is_on_gpu else CPU
    available = free_memory.available_bytes(place, None)
    return available is None or required + free_memory.loaded_bytes(place, active=True) <= available


def _estimate(
    model: ResolvedModel, job: PipelineJob, batch_size: int, device_config: DeviceConfig
) -> budget.MemoryEstimate:
    """Estimate the memory of a model for a pipeline call of `batch_size` images like the one of the job."""
    unet_batch_size = batch_size * denoiser_inputs(job.request, job.model.pipeline_entry)
    size = pipeline_size(job.request, job.model, job.size)
    estimate = estimate_memory(model, device_config.dtype, size, unet_batch_size, quantize=device_config.quantize)
    if _uses_openvino(job):  # which stores the weights of the denoiser again, in another layout
        estimate = dataclasses.replace(estimate, denoiser_bytes=2 * estimate.denoiser_bytes)
    if isinstance(job, GenerationJob) and model is job.model:  # a refiner has no control nets and no image prompts
        value_bytes = DTYPE_BYTES[device_config.dtype]
        nbytes = net_bytes(job.controls, value_bytes) + adapter_bytes(job.image_prompts, value_bytes)
        estimate = dataclasses.replace(estimate, denoiser_bytes=estimate.denoiser_bytes + nbytes)
    return estimate


def _uses_openvino(job: PipelineJob) -> bool:
    return getattr(job.request, "acceleration", None) == "openvino"


def resource_key(job: PipelineJob) -> tuple[Any, ...]:
    """Return everything that memory settings depend on, except the image size."""
    request = job.request
    shared = request.group_key()  # without the names of files
    values = (
        getattr(shared, name) for name, setting in settings_of(type(request)).items() if "memory" in setting.affects
    )
    return (
        *values, checks.text_encoders_inseparable_reason(job.model, job.loras),
        MemorySettings.from_request(request, 1).excluded_mode, _uses_openvino(job),
    )  # fmt: skip
