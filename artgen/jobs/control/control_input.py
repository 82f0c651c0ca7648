"""Define the control image of a job."""

from dataclasses import dataclass

from PIL import Image

from artgen.registry.control_nets import ControlNet
from artgen.registry.preprocessors import Preprocessor
from artgen.spec.control import ControlSpec, map_kind


@dataclass(frozen=True)
class ControlInput:
    """Store a control image with the net that reads its control map.

    Attributes:
        spec: kind, file, scale and range of steps.
        image: the image in the size of the result, mode RGB; not yet a control map.
        net: the net.
        preprocessors: models that compute the control map; empty if it needs none.
        map: the control map, mode RGB, same size; None until `engine.derived_inputs.complete_inputs` computes it.
        first_pass: the same control image in the size of the first pass of hires fix; None without hires fix.
    """

    spec: ControlSpec
    image: Image.Image
    net: ControlNet
    preprocessors: tuple[Preprocessor, ...] = ()
    map: Image.Image | None = None
    first_pass: "ControlInput | None" = None

    @property
    def map_kind(self) -> str:
        """Return the kind of the control map; `raw` if it is unknown.

        The map of `raw=map.png,model=canny` is a canny map.
        """
        return map_kind(self.spec)

    @property
    def mode(self) -> int | None:
        """Return the index of the control type that a union net receives; None for other nets."""
        return self.net.modes.get(self.map_kind)
