"""Enlarge the image of a job with the method of its request."""

from artgen.engine.generation_context import GenerationContext
from artgen.engine.loading import loaded_models
from artgen.engine.loading.oom import is_oom, raise_if_device_lost
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.engine.upscaling import network_upscale, redraw, resampling
from artgen.errors import NonFiniteError
from artgen.jobs.job import UpscaleJob


def upscale(job: UpscaleJob, progress: ProgressReporter, context: GenerationContext) -> GeneratedImage | FailedImage:
    """Return the enlarged image of a job, or its failure.

    Args:
        job: job of an `Upscale` request.
        progress: receives the finished tiles.
        context: state shared with other calls.

    Raises:
        MemoryExhaustedError: the image does not fit into memory.
        ModelUnavailableError: a model cannot be loaded.
    """
    if not job.needs_torch:
        return resampling.resample(job)
    try:
        if job.tile is not None:
            return redraw.redraw(job, job.tile, progress, context)
        return network_upscale.upscale(job, progress)
    except NonFiniteError as error:
        return FailedImage(job.request, error)
    except (MemoryError, RuntimeError) as error:
        raise_if_device_lost(error)
        if not is_oom(error):
            raise
    loaded_models.empty_device_cache()
    raise resampling.out_of_memory(job)
