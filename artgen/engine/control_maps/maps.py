"""Compute the control map of an image."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from artgen.engine.control_maps.canny import canny_map
from artgen.engine.control_maps.sketch import line_map
from artgen.events import Listener, Notice
from artgen.registry.preprocessors import Preprocessor


class MapModels(NamedTuple):
    """Store the models of a kind of control maps.

    Attributes:
        found: models of `registry.preprocessors.resolve_preprocessors`, on the disk.
        device: device name of torch.
    """

    found: Sequence[Preprocessor] = ()
    device: str = "cpu"


def control_map(kind: str, image: Image.Image, models: MapModels, listener: Listener) -> Image.Image:
    """Return the control map of an image, mode RGB, same size.

    Args:
        kind: one of `artgen.spec.control.CONTROL_KINDS`.
        image: RGB image.
        models: models of the kind.
        listener: receives notes and the events of the loading.

    Raises:
        ModelUnavailableError: a model cannot be loaded.
    """
    if kind == "canny":
        return canny_map(image)
    if kind in ("lineart", "scribble"):
        lines, note = line_map(image, kind)
        listener(Notice(note))
        return lines
    if kind == "gray":
        return image.convert("L").convert("RGB")
    if kind in ("tile", "raw"):
        return image
    return _model_map(kind, image, models, listener)


def _model_map(kind: str, image: Image.Image, models: MapModels, listener: Listener) -> Image.Image:
    # Other kinds do not need transformers' vision models.
    from artgen.engine.control_maps import depth, pose, seg
    from artgen.engine.control_maps.models import load_preprocessor

    loaded = {each.name: load_preprocessor(each, models.device, listener) for each in models.found}
    if kind == "depth":
        return depth.depth_map(image, loaded["depth"])
    if kind == "seg":
        return seg.seg_map(image, loaded["seg"])
    people = pose.find_people(image, loaded["detector"], loaded["pose"])
    if not people:
        listener(Notice("pose: no person was found, and the control map is black."))
    return pose.render_pose(people, image.size)
