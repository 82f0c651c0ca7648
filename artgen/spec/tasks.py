"""Define the properties of a task. `artgen.spec.requests.TASKS` is the table of all tasks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artgen.spec.base_requests import Request

GENERATED = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
ENHANCED = "algorithmicallyEnhanced"
"""Digital source types of IPTC (https://cv.iptc.org/newscodes/digitalsourcetype/)."""


GENERATIVE_METHODS = ("latent", "redraw")
"""Values of `--method` with which a generative model adds content."""


@dataclass(frozen=True)
class Task:
    """Store the properties of a task.

    Attributes:
        request_class: class of the task's requests; `request_class.task` is the name of the task.
        pipeline_kind: kind of the diffusers pipeline: Text2Image, Image2Image or Inpainting; empty if the task runs no
            pipeline.
        arguments: arguments of the pipeline call besides prompt, steps, guidance and noise.
        inputs: settings that every request of the task needs: the prompt or input files.
        default_strength: default of `strength`; None for a task without strength.
        source_type: digital source type of the images.
        generative_source_type: digital source type with a method of `GENERATIVE_METHODS`; empty if it is `source_type`.
    """

    request_class: "type[Request]"
    pipeline_kind: str = ""
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("image",)
    default_strength: float | None = None
    source_type: str = COMPOSITE
    generative_source_type: str = ""

    @property
    def name(self) -> str:
        """Return the name of the task."""
        return self.request_class.task

    def source_type_of(self, method: object = None) -> str:
        """Return the digital source type of an image that the task generated with `method`."""
        return (self.generative_source_type if method in GENERATIVE_METHODS else "") or self.source_type
