"""Denoise the last noise levels with a refiner: the ensemble of expert denoisers of SDXL.

The base model denoises the first part of the noise levels and returns latents. The refiner continues from them (Podell
et al. 2023, arXiv 2307.01952, section 2.5; `denoising_end` and `denoising_start` of diffusers).
"""

from typing import Any

import torch

from artgen.engine.loading import loaded_models, pipeline_cache, schedulers
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import fits_beside, make_room
from artgen.engine.memory_settings import MemorySettings
from artgen.events import Listener, PlanNote
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import pag_scale
from artgen.spec.refiner import parse_refiner


def base_arguments(job: GenerationJob) -> dict[str, Any]:
    """Return the arguments of the base model's call that end it early; empty without a refiner."""
    if job.model.refiner is None or job.request.refiner is None:
        return {}
    return {"denoising_end": parse_refiner(job.request.refiner).base_fraction, "output_type": "latent"}


def arguments(job: GenerationJob, latents: torch.Tensor) -> dict[str, Any]:
    """Return the arguments of the refiner's call that continue from the latents of the base model."""
    return {"image": latents, "denoising_start": parse_refiner(str(job.request.refiner)).base_fraction}


def load_refiner(
    job: GenerationJob,
    batch_size: int,
    scheduler: Any,
    device_config: DeviceConfig,
    memory_settings: MemorySettings,
    listener: Listener,
) -> Any:
    """Return the refiner's pipeline. The base model is released first if both do not fit into the memory.

    Args:
        job: first job of the pipeline call, with a refiner.
        batch_size: images per pipeline call.
        scheduler: scheduler of the base model. The refiner gets the same class, because the classes scale latents
            differently.
        device_config, memory_settings: as for the base model.
        listener: receives a note if the base model is released.
    """
    model = job.model.refiner
    if model is None:
        raise ValueError("The job has no refiner.")
    keeps_base = loaded_models.is_active(model) or fits_beside(model, job, batch_size, device_config, memory_settings)
    if not keeps_base:
        listener(PlanNote("Releasing the base model before the refiner is loaded: both do not fit into the memory."))
    base = pipeline_cache.load_pipeline(
        model,
        device_config,
        offload=memory_settings.offload,
        vae_tiling=memory_settings.vae_tiling,
        safety_checker=False,
        listener=listener,
        keep_others=keeps_base,
        make_room=lambda: make_room(model, job, batch_size, device_config, memory_settings),
    )
    has_pag = pag_scale(job.request, model.pipeline_entry) > 0
    pipe = pipeline_cache.pipeline_for_task(base, model, "img2img", pag=has_pag)
    if job.request.scheduler is None:
        pipe.scheduler = type(scheduler).from_config(base.scheduler.config)
    else:
        pipe.scheduler = schedulers.build_scheduler(base.scheduler, job.request.scheduler, job.request.sigmas)
    return pipe
