"""Test that images with control nets equal plain diffusers byte for byte, and images without them too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_controls
import tiny_models
import torch
from PIL import Image

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img, generate
from artgen.engine.generate import generate_jobs
from artgen.engine.results import GeneratedImage
from artgen.jobs.control import ControlInput
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.base_requests import PromptRequest

SETTINGS: dict[str, Any] = {"seed": 3, "steps": 4, "guidance_scale": 6.0, "device": "cpu"}
SETTINGS |= {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}
PLAIN = {"seed": 3, "num_inference_steps": 4, "guidance_scale": 6.0}
PLAIN |= {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}

PREFIXES = {
    "sd1": "StableDiffusionControlNet",
    "sdxl": "StableDiffusionXLControlNet",
    "union": "StableDiffusionXLControlNetUnion",
    "sd3": "StableDiffusion3ControlNet",
}
SUFFIXES = {"txt2img": "Pipeline", "img2img": "Img2ImgPipeline", "inpaint": "InpaintPipeline"}
CASES = [(kind, task) for kind in ("sd1", "sdxl", "union") for task in SUFFIXES] + [("sd3", "txt2img")]
"""Nets and tasks for which diffusers has a pipeline."""


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


@pytest.fixture(scope="module")
def folders(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of the model of each kind of net."""
    # The last layer of Stable Diffusion 3 takes no residuals.
    sd3 = tiny_models.sd3(tmp_path_factory.mktemp("models") / "sd3", layers=2)
    return {"sd1": models["sd1"], "sdxl": models["sdxl"], "union": models["sdxl"], "sd3": sd3}


@pytest.fixture(scope="module")
def nets(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of a net of each kind."""
    root = tmp_path_factory.mktemp("nets")
    return {kind: tiny_controls.save(kind, root / kind, folders[kind]) for kind in PREFIXES}


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


def controlled(request: PromptRequest, *controls: ControlInput) -> GeneratedImage:
    """Generate an image with control inputs."""
    return batch([request], [controls])[0]


def batch(
    requests: Sequence[PromptRequest], controls: Sequence[Sequence[ControlInput]], size: int = 1
) -> list[GeneratedImage]:
    """Generate images with the control inputs of each request."""
    jobs = [replace(job, controls=tuple(given)) for job, given in zip(prepare_jobs(requests), controls, strict=True)]
    outcomes = list(generate_jobs(jobs, batch_size=size))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage), outcome
    return outcomes  # type: ignore[return-value]


def plain_control(kind: str, task: str, model: Path, nets: Sequence[Any], **arguments: Any) -> Image.Image:
    """Generate with the control pipeline of diffusers."""
    absent = dict.fromkeys(plain.ABSENT) if kind == "sd3" else {}
    with plain.quiet():
        cls = getattr(diffusers, PREFIXES[kind] + SUFFIXES[task])
        pipe = cls.from_pretrained(model, controlnet=nets[0] if len(nets) == 1 else list(nets), **absent)
    pipe.set_progress_bar_config(disable=True)
    inputs: dict[str, Any] = {"width": 32, "height": 32}
    if task == "img2img":
        inputs = {"image": Image.open("photo.png"), "strength": 0.8}
    if task == "inpaint":
        inputs |= {"image": Image.open("photo.png"), "mask_image": Image.open("mask.png"), "strength": 1.0}
    torch.manual_seed(3)  # Stable Diffusion 3 encodes the control map with noise of the global generator
    return plain.run(pipe, **{**PLAIN, **inputs, **arguments})


def map_argument(kind: str, task: str) -> str:
    """Return the name of the argument with the control map."""
    return "image" if task == "txt2img" and kind in ("sd1", "sdxl") else "control_image"


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_control_equals_plain_diffusers(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, task: str, tmp_path: Path
) -> None:
    model = folders[kind]
    request = request_for(task, model)
    net = tiny_controls.net_of(nets[kind], model.name)
    plain_image = generate(request).image

    ours = controlled(request, tiny_controls.control(net, "canny=m.png,scale=0.7,until=0.6")).image
    arguments = {map_argument(kind, task): tiny_controls.control_map(), "control_guidance_end": 0.6}
    if kind == "union":
        arguments["control_mode"] = 3
    theirs = plain_control(
        kind, task, model, [tiny_controls.build(kind, model)], controlnet_conditioning_scale=0.7, **arguments
    )
    assert sample_images.same(ours, theirs)
    assert not sample_images.same(ours, plain_image)

    # Off: the scale 0, an end before the first step, a net without training, and a later image without control.
    for text in ("canny=m.png,scale=0", "canny=m.png,until=0.001"):
        assert sample_images.same(controlled(request, tiny_controls.control(net, text)).image, plain_image), text
    folder = tiny_controls.save(kind, tmp_path / "fresh", model, fresh=True)
    fresh = tiny_controls.control(tiny_controls.net_of(folder, model.name))
    assert sample_images.same(controlled(request, fresh).image, plain_image)
    assert sample_images.same(generate(request).image, plain_image)
