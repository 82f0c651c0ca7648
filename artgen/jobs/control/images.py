"""Load the control images of a request, and fit them to the size of the result."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from artgen import images
from artgen.errors import InputFileError
from artgen.spec.base_requests import Request
from artgen.spec.control import ControlSpec
from artgen.system.counts import counted


@dataclass(frozen=True)
class ControlImage:
    """Store a control image before its net is known.

    Attributes:
        spec: kind, file, scale and range of steps.
        image: the image, mode RGB.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: changes made while loading, one sentence each.
    """

    spec: ControlSpec
    image: Image.Image
    sha256: str
    notes: tuple[str, ...] = ()


def load_control_images(request: Request) -> tuple[ControlImage, ...]:
    """Load the control images of a request.

    Raises:
        InputFileError: an image cannot be used.
    """
    background = getattr(request, "background", "white")
    found = []
    for spec in request.controls:
        try:
            loaded = images.load_image(spec.image, background=background)
        except InputFileError as error:
            message = f"Cannot use the control image of --control {spec.kind}: {error.message}"
            raise InputFileError(message, error.hint) from error
        found.append(ControlImage(spec, loaded.image, loaded.sha256, loaded.notes))
    return tuple(found)


def fit_to_size(
    controls: Sequence[ControlImage], size: tuple[int, int]
) -> tuple[tuple[Image.Image, ...], tuple[str, ...]]:
    """Return the images in the size of the result, and a note for each image that is resized.

    Args:
        controls: control images.
        size: width and height of the result in pixels.
    """
    fitted = [_resize(each.image, size) for each in controls]
    notes = [note for each in controls for note in (*each.notes, *_size_note(each, size))]
    return tuple(fitted), tuple(dict.fromkeys(notes))


def activity_notes(request: Request, controls: Sequence[ControlImage]) -> tuple[str, ...]:
    """Return a note for each net that is active in no step of a complete request.

    As in diffusers, a net is active in a step if the complete step is between `from` and `until`.
    """
    strength = getattr(request, "strength", None)
    steps = int((request.steps or 1) * (1.0 if strength is None else strength))
    notes = []
    for spec in (each.spec for each in controls):
        active = [n for n in range(steps) if n / steps >= spec.start and (n + 1) / steps <= spec.end]
        if spec.scale and steps and not active:
            notes.append(
                f"The control net of '{spec.image.name}' is active in none of the {counted(steps, 'step')}: no "
                f"complete step is between from={spec.start:g} and until={spec.end:g}. Use more steps or a wider range."
            )
    return tuple(notes)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _size_note(control: ControlImage, size: tuple[int, int]) -> tuple[str, ...]:
    (width, height), name = control.image.size, control.spec.image.name
    if (width, height) == size:
        return ()
    text = f"The control image '{name}' is resized from {width}x{height} to {size[0]}x{size[1]}"
    change = (size[0] / size[1]) / (width / height)
    if abs(change - 1) < 0.02:
        return (f"{text}.",)
    direction, factor = ("wider", change) if change > 1 else ("taller", 1 / change)
    return (f"{text}, which makes its content {factor:.{2 if factor >= 1.1 else 3}g} times {direction}.",)
