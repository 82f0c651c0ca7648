"""What the engine tells its caller while it works. The command line draws progress from it; a library may log it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelChosen:
    """Said once for each model: what will be used."""

    model: str
    device: str
    dtype: str


@dataclass(frozen=True)
class Downloading:
    """A file of a model is on its way; bytes so far and in all (0 when unknown)."""

    file: str
    done: int
    total: int


@dataclass(frozen=True)
class Loading:
    """A component of the model is read (`unet`, `vae`, ...)."""

    component: str


@dataclass(frozen=True)
class Step:
    """Denoising steps done, of how many, for pictures `first` to `first + pictures - 1` (counted from 1) of `total`."""

    done: int
    steps: int
    first: int
    pictures: int
    total: int


@dataclass(frozen=True)
class Planned:
    """How pictures will be drawn on this machine, and why: what was chosen, not what the user asked for."""

    text: str


@dataclass(frozen=True)
class Decoding:
    """The latents are turned into pixels."""


@dataclass(frozen=True)
class Note:
    """Something the user should know; the picture is still made."""

    text: str


@dataclass(frozen=True)
class Waiting:
    """So many pictures are being drawn by other processes."""

    jobs: int


@dataclass(frozen=True)
class Verifying:
    """Pictures to learn from that are decoded and checked, of how many."""

    done: int
    total: int


Event = Planned | ModelChosen | Downloading | Loading | Step | Decoding | Note | Waiting | Verifying
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing."""
