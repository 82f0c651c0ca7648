"""Convert the exceptions of other libraries in a pipeline call."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import artgen
from artgen.engine.acceleration.apply import OptimizationError
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ArtgenError, PipelineError
from artgen.jobs.job import PipelineJob

_PACKAGE_FOLDER = Path(artgen.__file__).resolve().parent


@contextlib.contextmanager
def wrap_pipeline_errors(job: PipelineJob) -> Iterator[None]:
    """Convert an exception that another library raises; an exception from artgen's own code is a bug.

    Args:
        job: a job of the pipeline call, for the message.

    Raises:
        PipelineError: the pipeline, the model or a library failed.
    """
    try:
        yield
    except (ArtgenError, OptimizationError):
        raise
    except Exception as error:
        if is_oom(error) or is_device_lost(error) or _is_raised_by_artgen(error):
            raise
        raise PipelineError(
            f"Cannot generate with '{job.model.name}': {first_line(error).rstrip('.')}.",
            f"Check the model: artgen models verify {job.model.name}",
        ) from error


def _is_raised_by_artgen(error: Exception) -> bool:
    """Return whether the exception is from a function of artgen, such as a callback of the pipeline."""
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(_PACKAGE_FOLDER)
