"""Create the job templates of a batch that runs on a server. No model is resolved on this machine."""

from dataclasses import dataclass
from typing import Any

from artgen import images
from artgen.jobs.inputs import InputImages, load_inputs
from artgen.jobs.job import Job
from artgen.queue.job_templates import JobTemplates
from artgen.remote.upload import check_remote
from artgen.spec.base_requests import Request


@dataclass(frozen=True, kw_only=True)
class UnresolvedJob(Job):
    """Represent a job whose model and defaults a server selects.

    Attributes:
        size: width and height of the result in pixels; 0 if the server selects them.
        is_transparent: whether the result keeps transparent pixels of the input image.
    """

    is_transparent: bool = False

    @property
    def has_transparency(self) -> bool:
        """Return whether the result has pixels that are not opaque."""
        return self.is_transparent


class RemoteTemplates(JobTemplates):
    """Create job templates without models. The fingerprints contain the settings as typed and the input files."""

    def _prepare(self, request: Request) -> Job:
        check_remote(request)
        return unresolved_job(request)


def unresolved_job(request: Request) -> UnresolvedJob:
    """Return the job of a request for a server. Load and check the input images.

    Raises:
        ArtgenError: an input image is invalid.
    """
    inputs = load_inputs(request)
    return UnresolvedJob(
        request=request,
        size=_result_size(request, inputs),
        provenance=inputs.provenance,
        is_transparent=_is_transparent(inputs),
    )


def _result_size(request: Any, inputs: InputImages) -> tuple[int, int]:
    if inputs.result_size is not None:
        return inputs.result_size
    if inputs.image is not None:
        return inputs.image.size
    return getattr(request, "width", None) or 0, getattr(request, "height", None) or 0


def _is_transparent(inputs: InputImages) -> bool:
    source = inputs.source or inputs.lossless
    image = inputs.image if source is None else source.image
    return image is not None and images.has_transparency(image)
