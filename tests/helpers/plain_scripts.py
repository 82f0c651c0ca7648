"""What a plain diffusers script draws, for comparison, and small pictures and masks to draw from."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from artgen.events import Event, Notice

SCHEDULER = {
    "class_name": "DPMSolverMultistepScheduler",
    "config": {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++", "solver_order": 2},
}
"""What `scheduler="dpm++2m", sigmas="karras"` stands for in diffusers' words."""

ABSENT = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")


def draw(cls: str, folder: Path, *, seed: int, scheduler: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """One picture of a plain script, as PIL; arguments go to the pipeline as they are."""
    with quiet():
        # A plain script has to name the parts that a model leaves out.
        absent = dict.fromkeys(ABSENT) if cls.startswith("StableDiffusion3") else {}
        pipe = getattr(diffusers, cls).from_pretrained(folder, **absent)
    pipe.set_progress_bar_config(disable=True)
    if scheduler:
        kind = getattr(diffusers, scheduler["class_name"])
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **scheduler["config"])
    return pipe(generator=torch.Generator("cpu").manual_seed(seed), **arguments).images[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    level = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.logging.set_verbosity(level)


def photo(path: Path, width: int = 32, height: int = 32, seed: int = 1) -> Path:
    """A picture with edges and noise, saved as PNG."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    ramp = np.linspace(0, 255, width)[None, :, None]
    Image.fromarray(((noise + ramp) / 2).astype(np.uint8)).save(path)
    return path


def mask(path: Path, width: int = 32, height: int = 32, box: tuple[int, int, int, int] = (8, 4, 24, 20)) -> Path:
    """A black mask with a white box, saved as PNG."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, box)
    image.save(path)
    return path


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.mode == second.mode and first.size == second.size and first.tobytes() == second.tobytes()


def difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of any value, in grey levels."""
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


def around(monkeypatch: pytest.MonkeyPatch, cls: type, method: str, wrap: Callable[..., Any]) -> None:
    """Lets `wrap(original, self, *arguments, **more)` stand around a method of a real class."""
    original = getattr(cls, method)

    def wrapped(self: Any, *arguments: Any, **more: Any) -> Any:
        return wrap(original, self, *arguments, **more)

    monkeypatch.setattr(cls, method, wrapped)
