"""Define the events that the engine sends to a listener. The command line shows them as progress."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelSelected:
    """Report the model, device and precision. Sent once for each model."""

    model: str
    device: str
    dtype: str


@dataclass(frozen=True)
class Downloading:
    """Report the progress of a download.

    Attributes:
        file: name of the file.
        done_bytes: bytes received.
        total_bytes: size of the file, or 0 if unknown.
    """

    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Loading:
    """Report that a component of the model (`unet`, `vae`, ...) is being loaded."""

    component: str


@dataclass(frozen=True)
class StepEvent:
    """Report the denoising steps of one pipeline call, or the finished tiles of one image.

    Attributes:
        completed_steps: number of completed steps.
        num_steps: number of steps of the call.
        first_image: number of the first image of the call, counted from 1.
        num_images: number of images in the call.
        total_images: number of all images.
        unit: what is counted: `step` or `tile`.
    """

    completed_steps: int
    num_steps: int
    first_image: int
    num_images: int
    total_images: int
    unit: str = "step"


@dataclass(frozen=True)
class Preview:
    """Report a small image of the current estimate of the first image of a pipeline call, of the class PIL.Image."""

    image: Any


@dataclass(frozen=True)
class StageStarted:
    """Report the start of a stage of a pipeline call.

    Attributes:
        stage: encode (the prompts) or denoise.
    """

    stage: str


@dataclass(frozen=True)
class PlanNote:
    """Report an automatic choice, such as an optimization, and its reason."""

    text: str


@dataclass(frozen=True)
class Decoding:
    """Report that the latents are being decoded."""


@dataclass(frozen=True)
class Notice:
    """Report a warning for the user. The image is still generated."""

    text: str


@dataclass(frozen=True)
class WaitingForOthers:
    """Report the number of jobs that other processes are running."""

    num_jobs: int


@dataclass(frozen=True)
class WaitingForServer:
    """Report that a server has not started the job of this process.

    Attributes:
        position: number of jobs that run before the job.
        is_loading: whether the server loads the model of the job.
    """

    position: int
    is_loading: bool = False


@dataclass(frozen=True)
class CheckingImages:
    """Report the progress of reading the images of a dataset."""

    done: int
    total: int


Event = (
    PlanNote
    | Preview
    | ModelSelected
    | Downloading
    | Loading
    | StageStarted
    | StepEvent
    | Decoding
    | Notice
    | WaitingForOthers
    | WaitingForServer
    | CheckingImages
)
Listener = Callable[[Event], None]


def note_listener(add_note: Callable[[str], object]) -> Listener:
    """Return a listener that calls `add_note` with the text of each notice, and ignores other events."""

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            add_note(event.text)

    return listen


def no_op(event: Event) -> None:
    """Ignore an event."""
