"""Define the control image of a job."""

from dataclasses import dataclass

from PIL import Image

from artgen.registry.control_nets import ControlNet
from artgen.spec.control import ControlSpec


@dataclass(frozen=True)
class ControlInput:
    """Store a control image with the net that reads its control map.

    Attributes:
        spec: kind, file, scale and range of steps.
        image: the image in the size of the result, mode RGB; not yet a control map.
        net: the net.
        map: the control map, mode RGB, same size; None until `engine.derived_inputs.complete_inputs` computes it.
    """

    spec: ControlSpec
    image: Image.Image
    net: ControlNet
    map: Image.Image | None = None
