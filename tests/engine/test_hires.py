"""Test hires fix: byte parity with two calls of plain diffusers, sizes, records, replay and upscaling networks."""

from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
import tiny_upscalers
import torch
from command_line import run
from PIL import Image

from artgen import GeneratedImage, Txt2Img, generate, generate_all, replay
from artgen.engine.check_requests import check_jobs
from artgen.events import Event, StepEvent
from artgen.jobs.prepare import prepare_jobs

SHARED: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "snow", "guidance_scale": 5.0}
CLASSES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}
SIZE = (48, 32)
LARGE = (72, 48)


def request(model: Path | str, **settings: Any) -> Txt2Img:
    """Return a request that enlarges 48x32 pixels to 72x48."""
    defaults = {"seed": 3, "steps": 4, "width": SIZE[0], "height": SIZE[1], "hires": "1.5:0.6", "device": "cpu"}
    return Txt2Img(model=str(model), **{**SHARED, **defaults, **settings})


def two_calls(kind: str, folder: Path, *, latent: bool, steps: int = 4) -> Any:
    """Return the image of a txt2img call and an img2img call of plain diffusers."""
    size = {"width": SIZE[0], "height": SIZE[1]}
    output = {"output_type": "latent"} if latent else {}
    first = plain.generate(
        f"{CLASSES[kind]}Pipeline", folder, seed=3, num_inference_steps=4, **SHARED, **size, **output
    )
    if latent:
        factor = SIZE[0] // first.shape[-1]
        enlarged_size = (LARGE[1] // factor, LARGE[0] // factor)
        enlarged = torch.nn.functional.interpolate(first[None], size=enlarged_size, mode="bilinear")
    else:
        enlarged = first.resize(LARGE, Image.Resampling.LANCZOS)
    large = {"width": LARGE[0], "height": LARGE[1]} if kind == "sd3" else {}
    with plain.quiet():
        return plain.generate(
            f"{CLASSES[kind]}Img2ImgPipeline",
            folder,
            seed=3,
            num_inference_steps=steps,
            strength=0.6,
            image=enlarged,
            **SHARED,
            **large,
        )


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("space", ["pixel", "latent"])
def test_hires_fix_equals_two_calls(models: dict[str, Path], kind: str, space: str) -> None:
    ours = generate(request(models[kind], hires_in=space))
    assert ours.image.size == LARGE
    assert sample_images.same(ours.image, two_calls(kind, models[kind], latent=space == "latent"))
    assert (ours.record["width"], ours.record["height"]) == SIZE
    assert (ours.record["task"], ours.record["hires"], ours.record["hires_in"]) == ("txt2img", "1.5:0.6", space)


@pytest.mark.parametrize(
    ("options", "has_note"),
    [
        (("--hires", "2:0.4", "--hires-in", "latent"), True),
        (("--hires", "2:0.5", "--hires-in", "latent"), False),
        (("--hires", "2:0.4"), False),
    ],
)
def test_a_weak_second_pass_in_latent_space_gets_a_note(options: tuple[str, ...], has_note: bool) -> None:
    stderr = run("txt2img", "a fox", "-m", "tiny", *options, "--dry-run").stderr
    assert ("--hires-in latent with strength 0.4 leaves artifacts: use a strength of 0.5 or more" in stderr) == has_note
    assert ("such as --hires 2:0.5." in stderr) == has_note


def test_a_batch_with_own_steps_and_progress(models: dict[str, Path], tmp_path: Path) -> None:
    """Both images equal single images, the steps of both passes are counted, and the record replays."""
    events: list[Event] = []
    requests = [request(models["sd1"], hires_steps=6, seed=seed) for seed in (3, 4)]
    first, second = generate_all(requests, batch_size=2, listener=events.append)
    assert isinstance(first, GeneratedImage)
    assert isinstance(second, GeneratedImage)
    steps = [(each.completed_steps, each.num_steps) for each in events if isinstance(each, StepEvent)]
    assert steps == [(step, 7) for step in range(1, 8)]
    assert sample_images.same(generate(requests[0]).image, two_calls("sd1", models["sd1"], latent=False, steps=6))
    again = replay(first.save(tmp_path / "first.png"))
    assert sample_images.same(again.image, first.image)


def test_a_network_enlarges_the_first_result(models: dict[str, Path], tmp_path: Path) -> None:
    network = tmp_path / "net.safetensors"
    tiny_upscalers.save(network, tiny_upscalers.rrdbnet(1))
    ours = generate(request(models["sd1"], hires_model=str(network)))
    assert ours.image.size == LARGE
    assert not sample_images.same(ours.image, generate(request(models["sd1"])).image)
    assert (ours.record["hires_model"], ours.record["upscale_model_source"]) == ("net.safetensors", "local")
    assert sample_images.same(replay(ours.save(tmp_path / "saved.png")).image, ours.image)
    bundled = generate(request(models["sd1"], hires_model="tiny-x2"))
    assert bundled.record["upscale_model_source"].startswith("bundled:")
    assert sample_images.same(replay(bundled.save(tmp_path / "bundled.png")).image, bundled.image)


def test_memory_is_estimated_for_the_large_size(models: dict[str, Path]) -> None:
    job = prepare_jobs([request(models["sd1"])])[0]
    assert job.size == LARGE
    check_jobs([job])
