"""Prepare the pipeline of a call: load the model, its LoRAs and control nets, and select the optimizations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from artgen.engine.acceleration import policy
from artgen.engine.acceleration.apply import is_compiled, optimizations_disabled
from artgen.engine.control.nets import Placement, active_controls
from artgen.engine.control.pipelines import control_pipeline
from artgen.engine.loading import loaded_models, lora, pipeline_cache, schedulers
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import make_room
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.sampling.inversion import linear_scheduler, uses_inversion
from artgen.events import Listener, ModelSelected, Notice, PlanNote
from artgen.jobs.image_prompts.image_prompt_input import active_prompts
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import changes_guidance, pag_scale
from artgen.jobs.prompt_plan import prompt_plan
from artgen.registry.pipeline_entry import PipelineEntry


def prepare_pipeline(
    jobs: Sequence[GenerationJob],
    task: str,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    listener: Listener,
) -> Any:
    """Return the pipeline of the jobs with their scheduler and LoRAs."""
    job, request = jobs[0], jobs[0].request
    listener(ModelSelected(job.model.name, device_config.device, device_config.dtype))
    base = pipeline_cache.load_pipeline(
        job.model,
        device_config,
        offload=memory_settings.offload,
        vae_tiling=memory_settings.vae_tiling,
        safety_checker=request.safety_checker,
        listener=listener,
        make_room=lambda: make_room(job.model, job, len(jobs), device_config, memory_settings),
    )
    offloading.enable_vae_slicing_if_large(base, len(jobs), job.width * job.height)
    lora.set_loras(base, job.loras, device_config, memory_settings.offload)
    has_pag = pag_scale(request, job.model.pipeline_entry) > 0
    if controls := active_controls(job.controls):
        placement = Placement(device_config, memory_settings.offload, listener)
        pipe = control_pipeline(base, job.model, task, controls, placement, pag=has_pag)
    else:
        loaded_models.release_parts()
        pipe = pipeline_cache.pipeline_for_task(base, job.model, task, pag=has_pag)
    scheduler = schedulers.build_scheduler(base.scheduler, request.scheduler, request.sigmas)
    schedulers.seed_noise(scheduler, job_seeds(jobs))
    if uses_inversion(job):
        scheduler = linear_scheduler(scheduler)
    pipe.scheduler = schedulers.use_cpu_timesteps(scheduler)
    schedulers.check_steps(pipe.scheduler, request.steps or 1)
    return pipe


def job_seeds(jobs: Sequence[GenerationJob]) -> list[int]:
    """Return the seed of each job."""
    return [int(job.request.seed or 0) for job in jobs]


def plan_optimizations(
    pipe: Any,
    jobs: Sequence[GenerationJob],
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    listener: Listener,
    remaining_seconds: float,
) -> policy.OptimizationPlan:
    """Return the optimizations for a pipeline call, and report why they were selected."""
    job, request = jobs[0], jobs[0].request
    on_device = memory_settings.offload in (None, "none")
    entry = job.model.pipeline_entry
    has_image_prompts = bool(active_prompts(job.image_prompts))
    has_controls = bool(active_controls(job.controls))
    is_modified = bool(getattr(request, "seamless", None) or getattr(request, "panorama", False))
    if has_controls and request.acceleration == "openvino":
        listener(Notice("Not using OpenVINO: it does not support control nets."))
    plan = policy.select_optimizations(
        policy.OptimizationContext(
            level="none"
            if optimizations_disabled(job.model) or has_controls or has_image_prompts or is_modified
            else request.acceleration or "none",
            device=device_config.device,
            dtype=device_config.dtype,
            architecture=job.model.architecture,
            size=job.size,
            batch_size=len(jobs),
            steps=max(1, int((request.steps or 1) * (job.strength or 1))),
            on_device=on_device,
            supports_cuda_graphs=entry.supports("cuda-graphs"),
            unet_blocks=entry.supports("unet-blocks"),
            unmodified=on_device
            and device_config.quantize is None
            and not (
                job.loras
                or request.fast
                or prompt_plan(request).is_composed
                or changes_guidance(request, entry)
                or uses_inversion(job)
            ),
            vae_upcast=_is_vae_upcast(pipe, entry, device_config),
            already_compiled=is_compiled(pipe),
            remaining_seconds=remaining_seconds,
        )
    )
    if plan.cuda_graph and not memory_settings.allow_cuda_graphs:
        plan = replace(plan, cuda_graph=False, reason="Not using a CUDA graph: memory ran out with one.")
    if plan.reason:
        listener(PlanNote(plan.reason))
    return plan


def _is_vae_upcast(pipe: Any, entry: PipelineEntry, device_config: DeviceConfig) -> bool:
    """Return whether the pipeline decodes in fp32.

    `force_upcast` is set in most VAE configurations, but only the SDXL pipelines use it.
    """
    return entry.supports("vae-upcast") and device_config.dtype == "fp16" and bool(pipe.vae.config.force_upcast)
