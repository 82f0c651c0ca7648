"""Enlarge the image of a job with an upscaling network."""

import numpy as np
from PIL import Image

from artgen import images
from artgen.engine.loading.device import resolve_device
from artgen.engine.results import GeneratedImage
from artgen.engine.sampling.pipeline_call import ProgressReporter, library_versions
from artgen.engine.upscaling import networks
from artgen.engine.upscaling.properties import (
    has_srgb_values,
    to_rgb,
    with_invertible_profile,
    with_properties_of,
)
from artgen.engine.upscaling.resampling import finished_image
from artgen.events import ModelSelected
from artgen.jobs.job import UpscaleJob


def upscale(job: UpscaleJob, progress: ProgressReporter) -> GeneratedImage:
    """Return the enlarged image of a job with `--method model`.

    The network enlarges the colors. Transparency is enlarged with Lanczos.

    Args:
        job: job with a network whose files are on the disk.
        progress: receives the finished tiles.

    Raises:
        ModelUnavailableError: the network cannot be loaded.
        NonFiniteError: the network returned NaN or infinity.
        ValueError: the job has no network.
    """
    if job.upscaler is None:
        raise ValueError("the job has no network")
    request = job.request
    device_config = resolve_device(request.device, request.dtype)
    progress.listener(ModelSelected(job.upscaler.name, device_config.device, device_config.dtype))
    source = with_invertible_profile(job.source)
    is_16bit = source.low_bytes is not None and has_srgb_values(source)
    pixels = images.colors_16bit(source) if is_16bit else np.asarray(to_rgb(source))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    options = networks.EnlargeOptions(
        size=job.size, seed=request.seed or 0, steps=request.steps, on_tile=progress.on_tile
    )
    enlarged = networks.enlarge(pixels, job.upscaler, device_config, progress.listener, options)
    resized = images.resize_lossless(source, job.size)
    result = (
        images.replace_colors_16bit(resized, enlarged)
        if is_16bit
        else with_properties_of(resized, Image.fromarray(enlarged), before=to_rgb(resized))
    )
    settings = {"device": device_config.device, "dtype": device_config.dtype}
    return finished_image(job, result, settings, dict(library_versions()))
