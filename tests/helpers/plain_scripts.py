"""Generate reference images with plain diffusers, and record events."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from artgen.events import Event, Notice

SCHEDULER = {
    "class_name": "DPMSolverMultistepScheduler",
    "config": {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++", "solver_order": 2},
}
"""Diffusers equivalent of `scheduler="dpm++2m", sigmas="karras"`."""

SUFFIXES = {"txt2img": "Pipeline", "img2img": "Img2ImgPipeline", "inpaint": "InpaintPipeline"}
"""End of the name of a pipeline class by task."""

ABSENT = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
"""Components that the tiny Stable Diffusion 3 models do not contain."""


def generate(
    pipeline_class: str, folder: Path, *, seed: int, scheduler: dict[str, Any] | None = None, **kwargs: Any
) -> Any:
    """Generate one PIL image with plain diffusers. `kwargs` are the arguments of the pipeline call."""
    return run(_cached_pipeline(pipeline_class, folder), seed=seed, scheduler=scheduler, **kwargs)


@functools.lru_cache(maxsize=16)
def _cached_pipeline(pipeline_class: str, folder: Path) -> Any:
    return load(pipeline_class, folder)


def load(pipeline_class: str, folder: Path) -> Any:
    """Load a diffusers pipeline."""
    with quiet():
        # diffusers requires an explicit None for each component that a model does not contain.
        absent = dict.fromkeys(ABSENT) if pipeline_class.startswith("StableDiffusion3") else {}
        pipe = getattr(diffusers, pipeline_class).from_pretrained(folder, **absent)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, *, seed: int, scheduler: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Generate one PIL image with a loaded pipeline.

    Args:
        pipe: Pipeline. Its scheduler is the same after the call.
        seed: Random seed.
        scheduler: Class name and configuration of a scheduler. None: the scheduler of the model.
        **kwargs: Arguments of the pipeline call.
    """
    model_scheduler = pipe.scheduler
    if scheduler:
        scheduler_class = getattr(diffusers, scheduler["class_name"])
        pipe.scheduler = scheduler_class.from_config(model_scheduler.config, **scheduler["config"])
    try:
        return pipe(generator=torch.Generator("cpu").manual_seed(seed), **kwargs).images[0]
    finally:
        pipe.scheduler = model_scheduler


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Disable the log messages and progress bars of diffusers."""
    level = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.logging.set_verbosity(level)


class EventLog:
    """Record the events that a listener receives."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notes(self) -> list[str]:
        """Return the texts of the notices."""
        return [event.text for event in self.events if isinstance(event, Notice)]


def wrap_method(monkeypatch: pytest.MonkeyPatch, cls: type, method: str, wrapper: Callable[..., Any]) -> None:
    """Replace a method of a real class by `wrapper(original, self, *args, **kwargs)`."""
    original = getattr(cls, method)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(original, self, *args, **kwargs)

    monkeypatch.setattr(cls, method, wrapped)
