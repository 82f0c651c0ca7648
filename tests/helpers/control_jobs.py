"""Generate images with control inputs that tests build."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img
from artgen.engine.generate import generate_jobs
from artgen.engine.results import GeneratedImage
from artgen.jobs.control import ControlInput
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.base_requests import PromptRequest

SETTINGS: dict[str, Any] = {"seed": 3, "steps": 4, "guidance_scale": 6.0, "device": "cpu"}
SETTINGS |= {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}


def request_for(task: str, model: Path, **changes: Any) -> PromptRequest:
    """Return a request of a task whose image has 32x32 pixels."""
    settings = {**SETTINGS, "model": str(model), **changes}
    if task == "txt2img":
        return Txt2Img(width=32, height=32, **settings)
    if task == "img2img":
        return Img2Img(image=Path("photo.png"), **{"strength": 0.8, **settings})
    if task == "inpaint":
        return Inpaint(image=Path("photo.png"), mask=Path("mask.png"), keep_original=False, **settings)
    return Outpaint(image=Path("photo.png"), expand="16", keep_original=False, **settings)


def controlled(request: PromptRequest, *controls: ControlInput, guess: bool = False) -> GeneratedImage:
    """Generate an image with control inputs."""
    return batch([request], [controls], guess=guess)[0]


def batch(
    requests: Sequence[PromptRequest], controls: Sequence[Sequence[ControlInput]], size: int = 1, *, guess: bool = False
) -> list[GeneratedImage]:
    """Generate images with the control inputs of each request."""
    jobs = [replace(job, controls=tuple(given)) for job, given in zip(prepare_jobs(requests), controls, strict=True)]
    texts = {"control": ("raw=map.png",), "control_guess": True}
    jobs = [replace(job, request=job.request.replace(**texts)) if guess else job for job in jobs]
    outcomes = list(generate_jobs(jobs, batch_size=size))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage), outcome
    return outcomes  # type: ignore[return-value]
