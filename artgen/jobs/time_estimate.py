"""Estimate how long a large image takes on the CPU, before a model is loaded."""

import os

from artgen import registry
from artgen.jobs import pipeline_options
from artgen.jobs.edit_checks import INVERSION_CALLS_PER_STEP
from artgen.jobs.inputs import scaled_size
from artgen.registry.memory import parameter_counts
from artgen.spec.base_requests import ImageRequest, PromptRequest
from artgen.spec.restoration_requests import Denoise
from artgen.system import hardware
from artgen.system.counts import format_duration

LARGE_IMAGE_PIXELS = 4_000_000
"""Image size in pixels from which the expected time is printed."""

MEGAPIXEL_SECONDS_PER_PARAMETER = {"denoiser": 6.5e-8, "pixel": 6e-6, "vae": 1.6e-6}
"""CPU seconds of one core per megapixel and parameter, for one call: the UNet of Stable Diffusion at 1 to 2 megapixels,
the UNet of the bundled pixel model at 1 megapixel, and an encoder and decoder at 1 megapixel. Measured in fp32 with the
bundled models."""

SUGGESTED_MAX_SIDE_PX = 2048


def time_note(request: ImageRequest, model: registry.ResolvedModel | None, size: tuple[int, int]) -> tuple[str, ...]:
    """Return a note with the expected time of a large image on the CPU; empty for small images and other devices.

    The estimate is rough: it grows with the pixels, the steps and the parameters of the model.

    Args:
        request: complete request.
        model: resolved model; None for the classical methods of denoise.
        size: width and height of the result in pixels.
    """
    if getattr(request, "only_masked", None) is not None and model is not None:
        size = model.native_size
    seconds = estimate_seconds(request, model, size)
    if seconds is None:
        return ()
    text = f"{size[0]}x{size[1]} pixels take about {format_duration(seconds)} on this CPU."
    reduced = scaled_size(size, SUGGESTED_MAX_SIDE_PX)
    if reduced != size and (less := seconds * (reduced[0] * reduced[1]) / (size[0] * size[1])):
        text += f" With --max-side {SUGGESTED_MAX_SIDE_PX}: about {format_duration(less)}."
    return (text,)


def estimate_seconds(
    request: ImageRequest, model: registry.ResolvedModel | None, size: tuple[int, int]
) -> float | None:
    """Return the expected seconds of an image on the CPU; None for small images, other devices and other models."""
    on_gpu = hardware.cuda_device_count() or hardware.has_mps()
    if model is None or size[0] * size[1] < LARGE_IMAGE_PIXELS or (request.device != "cpu" and on_gpu):
        return None
    counts = parameter_counts(model)
    denoiser = max(counts.get("unet", 0), counts.get("transformer", 0))
    calls: float = request.steps or 1
    if isinstance(request, Denoise):
        calls *= request.self_ensemble or 1
    elif isinstance(request, PromptRequest):
        strength = getattr(request, "strength", None)
        calls *= 1.0 if strength is None else strength
        inversion_calls = INVERSION_CALLS_PER_STEP if getattr(request, "invert", False) else 0
        calls *= pipeline_options.denoiser_inputs(request, model.pipeline_entry) + inversion_calls
        if not calls:
            return None
    kind = "pixel" if model.architecture == "pixel" else "denoiser"
    return cpu_seconds(kind, denoiser, counts.get("vae", 0), calls, size) / num_cores()


def cpu_seconds(kind: str, denoiser: int, vae: int, calls: float, size: tuple[int, int]) -> float:
    """Return the seconds that one core needs for an image.

    Args:
        kind: `denoiser`, or `pixel` for a model that works on pixels.
        denoiser: number of parameters of the denoiser.
        vae: number of parameters of the VAE.
        calls: number of calls of the denoiser.
        size: width and height in pixels.
    """
    per_megapixel = calls * denoiser * MEGAPIXEL_SECONDS_PER_PARAMETER[kind]
    per_megapixel += vae * MEGAPIXEL_SECONDS_PER_PARAMETER["vae"]
    return per_megapixel * size[0] * size[1] / 1e6


def num_cores() -> int:
    """Return the number of CPU cores that torch uses."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(threads)) if threads.isdecimal() and int(threads[:6]) > 0 else available
