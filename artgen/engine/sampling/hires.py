"""Enlarge a generated image and denoise it again: the "hires fix" of AUTOMATIC1111.

The first pass is a txt2img call, the second pass an img2img call of the same components (SDEdit, Meng et al. 2022,
arXiv 2108.01073). Both calls use the seed of the job.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling.seamless import axes_of, wrap_pixels
from artgen.events import Event, Listener, Notice
from artgen.jobs.job import GenerationJob
from artgen.spec.hires_passes import first_request, second_request
from artgen.spec.records import PROVENANCE_FIELDS, to_record
from artgen.spec.requests import Txt2Img

Outcome = GeneratedImage | FailedImage

WRAP_PX = 32
"""Circular margin around a seamless image while it is enlarged, in pixels. Lanczos reads 3 pixels on each side."""

JOINED_FACTS = ("fallbacks", "rounding")
"""Lists of the provenance that contain the values of both passes."""


def first_jobs(jobs: Sequence[GenerationJob]) -> list[GenerationJob]:
    """Return the jobs of the first pass."""
    return [_first_job(job, _txt2img(job)) for job in jobs]


def _txt2img(job: GenerationJob) -> Txt2Img:
    if not isinstance(job.request, Txt2Img):
        raise TypeError("Hires fix is a setting of txt2img.")
    return job.request


def _first_job(job: GenerationJob, request: Txt2Img) -> GenerationJob:
    return replace(
        job,
        request=first_request(request),
        size=(int(request.width or 0), int(request.height or 0)),
        controls=tuple(each.first_pass or each for each in job.controls),
        keeps_latents=returns_latents(job),
    )


def prompt_jobs(jobs: Sequence[GenerationJob]) -> list[GenerationJob]:
    """Return the jobs of the second pass without their images, to encode the prompts in advance."""
    return [replace(job, request=second_request(_txt2img(job), job.size)) for job in jobs]


def second_jobs(
    jobs: Sequence[GenerationJob],
    first: Sequence[GeneratedImage],
    device_config: DeviceConfig,
    listener: Listener,
) -> list[GenerationJob]:
    """Return the jobs of the second pass, with the enlarged results of the first pass."""
    return [
        replace(second, image=_enlarged(job, result, device_config, listener), latents=_enlarged_latents(job, result))
        for job, second, result in zip(jobs, prompt_jobs(jobs), first, strict=True)
    ]


def returns_latents(job: GenerationJob) -> bool:
    """Return whether the second pass starts from the latents of the first pass."""
    return getattr(job.request, "hires_in", None) == "latent"


def _enlarged_latents(job: GenerationJob, result: GeneratedImage) -> torch.Tensor | None:
    """Return the latents in the size of the result, shape (C, H/f, W/f); None in pixel space."""
    if not returns_latents(job):
        return None
    latents, seamless = result.latents, getattr(job.request, "seamless", None)
    factor = result.image.width // latents.shape[-1]
    size = (job.height // factor, job.width // factor)
    margin = min(4, *latents.shape[-2:])
    wrapped = wrap_pixels(latents, margin, seamless)
    scale = (size[0] / latents.shape[-2], size[1] / latents.shape[-1])
    axes = axes_of(seamless)
    margins = (round(margin * scale[0]) * ("y" in axes), round(margin * scale[1]) * ("x" in axes))
    enlarged_size = (size[0] + 2 * margins[0], size[1] + 2 * margins[1])
    enlarged = torch.nn.functional.interpolate(wrapped[None], size=enlarged_size, mode="bilinear")[0]
    return enlarged[:, margins[0] : margins[0] + size[0], margins[1] : margins[1] + size[1]]


def _enlarged(
    job: GenerationJob, result: GeneratedImage, device_config: DeviceConfig, listener: Listener
) -> Image.Image:
    """Return the first result in the size of the final result, RGB."""
    image, seamless = result.image, getattr(job.request, "seamless", None)
    axes = axes_of(seamless)
    margins = (min(WRAP_PX, image.width) * ("x" in axes), min(WRAP_PX, image.height) * ("y" in axes))
    if any(margins):
        image = Image.fromarray(np.pad(np.asarray(image), ((margins[1],) * 2, (margins[0],) * 2, (0, 0)), mode="wrap"))
    scale = (job.width / result.image.width, job.height / result.image.height)
    margins = (round(margins[0] * scale[0]), round(margins[1] * scale[1]))
    size = (job.width + 2 * margins[0], job.height + 2 * margins[1])
    if job.upscaler is None:
        image = image.resize(size, Image.Resampling.LANCZOS)
    else:
        from artgen.engine.upscaling.networks import EnlargeOptions, enlarge

        options = EnlargeOptions(size=size, seed=int(job.request.seed or 0))
        image = Image.fromarray(enlarge(np.asarray(image), job.upscaler, device_config, listener, options))
    return image.crop((margins[0], margins[1], margins[0] + job.width, margins[1] + job.height))


def combined_outcome(job: GenerationJob, first: GeneratedImage, second: Outcome) -> Outcome:
    """Return the result of the second pass with the record of the job."""
    if isinstance(second, FailedImage):
        return FailedImage(job.request, second.error)
    facts = {name: value for name, value in second.record.items() if name in PROVENANCE_FIELDS and name != "task"}
    facts |= {name: value for name, value in job.provenance.items() if value not in (None, "", [])}
    for name in JOINED_FACTS:
        values = list(dict.fromkeys([*first.record.get(name, ()), *second.record.get(name, ())]))
        if values:
            facts[name] = values
    used = {name: getattr(second.request, name) for name in ("device", "dtype", "offload", "vae_tiling")}
    request = job.request.replace(**used)
    return replace(second, record=to_record(request, facts), request=request)


def without_repeated_notes(listener: Listener) -> tuple[Listener, Listener]:
    """Return listeners for both passes. The second one does not report the notes of the first pass again."""
    reported: set[str] = set()

    def on_first(event: Event) -> None:
        if isinstance(event, Notice):
            reported.add(event.text)
        listener(event)

    def on_second(event: Event) -> None:
        if not (isinstance(event, Notice) and event.text in reported):
            listener(event)

    return on_first, on_second


def latent_arguments(pipe: Any, jobs: Sequence[GenerationJob]) -> dict[str, Any]:
    """Return the argument of an img2img call that passes latents instead of images; empty for other calls.

    The pipelines of Stable Diffusion recognize latents by their 4 channels. For a VAE with another number of channels,
    this function replaces the method of the pipeline that noises the latents.
    """
    if jobs[0].latents is None:
        return {}
    latents = torch.stack([job.latents for job in jobs])
    if hasattr(pipe, "unet") and latents.shape[1] != 4:
        pipe.prepare_latents = _noised(pipe, latents)
        return {}
    return {"image": latents}


def _noised(pipe: Any, latents: torch.Tensor) -> Callable[..., torch.Tensor]:
    module = sys.modules[type(pipe).prepare_latents.__module__]  # `mixed_noise` replaces its function randn_tensor

    def prepare_latents(*args: Any, generator: Any = None, **_: Any) -> torch.Tensor:
        timestep, dtype, device = args[1], args[4], args[5]
        noise = module.randn_tensor(latents.shape, generator=generator or args[6], device=device, dtype=dtype)
        noised: torch.Tensor = pipe.scheduler.add_noise(latents.to(device, dtype), noise, timestep)
        return noised

    return prepare_latents
