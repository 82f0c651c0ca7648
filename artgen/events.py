"""What the engine tells its caller while it works. The command line draws progress from it; a library may log it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSelected:
    """Said once for each model: what will be used."""

    model: str
    device: str
    dtype: str


@dataclass(frozen=True)
class Downloading:
    """A file of a model is on its way; bytes so far and in all (0 when unknown)."""

    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Loading:
    """A component of the model is read (`unet`, `vae`, ...)."""

    component: str


@dataclass(frozen=True)
class StepEvent:
    """Denoising steps done, of how many, for pictures `first_image` to `first + pictures - 1` (counted from 1) of `total_images`."""

    completed_steps: int
    num_steps: int
    first_image: int
    num_images: int
    total_images: int


@dataclass(frozen=True)
class PlanNote:
    """How pictures will be drawn on this machine, and why: what was chosen, not what the user asked for."""

    text: str


@dataclass(frozen=True)
class Decoding:
    """The latents are turned into pixels."""


@dataclass(frozen=True)
class Notice:
    """Something the user should know; the picture is still made."""

    text: str


@dataclass(frozen=True)
class WaitingForOthers:
    """So many pictures are being drawn by other processes."""

    num_jobs: int


@dataclass(frozen=True)
class CheckingImages:
    """Pictures to learn from that are decoded and checked, of how many."""

    done: int
    total: int


Event = (
    PlanNote | ModelSelected | Downloading | Loading | StepEvent | Decoding | Notice | WaitingForOthers | CheckingImages
)
Listener = Callable[[Event], None]


def no_op(event: Event) -> None:
    """The listener that does nothing."""
