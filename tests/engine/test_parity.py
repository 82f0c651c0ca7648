"""Test that artgen's images are byte-identical to the images of plain diffusers for the same arguments."""

from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
from PIL import Image

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img, generate, images
from artgen.errors import UsageError
from artgen.jobs.prepare import prepare_jobs

PIPELINES = {"sd1": "StableDiffusion", "sd1-inpaint": "StableDiffusion", "sdxl": "StableDiffusionXL"}
PROMPTS = {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}
KARRAS = {"scheduler": "dpm++2m", "sigmas": "karras"}


@pytest.fixture(autouse=True)
def _input_images() -> None:
    """Save the input image and the mask."""
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_txt2img_with_scheduler_sigmas_and_negative_prompt(models: dict[str, Path], kind: str) -> None:
    ours = generate(
        Txt2Img(
            model=str(models[kind]), seed=7, steps=5, guidance_scale=6.5, width=48, height=32, device="cpu",
            **PROMPTS, **KARRAS,
        )
    )  # fmt: skip
    theirs = plain.generate(
        f"{PIPELINES[kind]}Pipeline", models[kind], seed=7, scheduler=plain.SCHEDULER, num_inference_steps=5,
        guidance_scale=6.5, width=48, height=32, **PROMPTS,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("sd1", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline"), ("sd3", "StableDiffusion3Pipeline")],
)
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_txt2img_with_the_scheduler_of_the_model(models: dict[str, Path], kind: str, cls: str, guidance: float) -> None:
    ours = generate(Txt2Img(prompt="a blue cat", model=str(models[kind]), seed=3, steps=4, guidance_scale=guidance))
    theirs = plain.generate(
        cls, models[kind], seed=3, prompt="a blue cat", num_inference_steps=4, guidance_scale=guidance
    )
    assert sample_images.same(ours.image, theirs)


def test_txt2img_with_sd3_and_negative_prompt(models: dict[str, Path]) -> None:
    ours = generate(Txt2Img(model=str(models["sd3"]), seed=3, steps=4, guidance_scale=4.5, **PROMPTS))
    theirs = plain.generate(
        "StableDiffusion3Pipeline", models["sd3"], seed=3, num_inference_steps=4, guidance_scale=4.5, **PROMPTS
    )
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize(("kind", "task"), [("sd1", "txt2img"), ("sdxl", "txt2img"), ("sdxl", "img2img")])
def test_guidance_rescale(models: dict[str, Path], kind: str, task: str) -> None:
    shared: dict[str, Any] = {"guidance_scale": 9.0, "guidance_rescale": 0.7, **PROMPTS}
    if task == "txt2img":
        ours = Txt2Img(model=str(models[kind]), seed=3, steps=4, **shared)
        pipeline, inputs = f"{PIPELINES[kind]}Pipeline", {}
    else:
        ours = Img2Img(model=str(models[kind]), seed=3, steps=4, image=Path("photo.png"), strength=0.8, **shared)
        pipeline, inputs = f"{PIPELINES[kind]}Img2ImgPipeline", {"image": Image.open("photo.png"), "strength": 0.8}
    theirs = plain.generate(pipeline, models[kind], seed=3, num_inference_steps=4, **inputs, **shared)
    generated = generate(ours)
    assert sample_images.same(generated.image, theirs)
    assert generated.record["guidance_rescale"] == 0.7
    assert not sample_images.same(generate(ours.replace(guidance_rescale=0.0)).image, theirs)


@pytest.mark.parametrize(
    ("kind", "task", "guidance", "reason"),
    [
        ("sd1", "img2img", 5.0, "img2img of Stable Diffusion 1 models does not support it"),
        ("sd3", "txt2img", 5.0, "txt2img of Stable Diffusion 3 models does not support it"),
        ("sdxl", "txt2img", 1.0, "the guidance scale is 1"),
    ],
)
def test_guidance_rescale_is_refused_where_it_has_no_effect(
    models: dict[str, Path], kind: str, task: str, guidance: float, reason: str
) -> None:
    shared: dict[str, Any] = {"model": str(models[kind]), "guidance_scale": guidance}
    request = Txt2Img(**shared) if task == "txt2img" else Img2Img(image=Path("photo.png"), **shared)
    with pytest.raises(UsageError, match=reason):
        prepare_jobs([request.replace(guidance_rescale=0.7)])
    assert prepare_jobs([request.replace(guidance_rescale=0.0)])


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_img2img(models: dict[str, Path], kind: str, strength: float) -> None:
    shared: dict[str, Any] = {"strength": strength, "guidance_scale": 5.0, **PROMPTS}
    ours = generate(Img2Img(model=str(models[kind]), seed=5, image=Path("photo.png"), steps=6, **shared, **KARRAS))
    theirs = plain.generate(
        f"{PIPELINES[kind]}Img2ImgPipeline", models[kind], seed=5, scheduler=plain.SCHEDULER,
        image=Image.open("photo.png"), num_inference_steps=6, **shared,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sd1", "sd1-inpaint", "sdxl"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_inpaint_with_and_without_keep_original(models: dict[str, Path], kind: str, strength: float) -> None:
    shared: dict[str, Any] = {"strength": strength, "guidance_scale": 5.0, **PROMPTS}
    photo, mask = Image.open("photo.png"), Image.open("mask.png")
    request = Inpaint(
        model=str(models[kind]), seed=5, image=Path("photo.png"), mask=Path("mask.png"), steps=5, keep_original=False,
        **shared, **KARRAS,
    )  # fmt: skip
    theirs = plain.generate(
        f"{PIPELINES[kind]}InpaintPipeline", models[kind], seed=5, scheduler=plain.SCHEDULER, image=photo,
        mask_image=mask, width=32, height=32, num_inference_steps=5, **shared,
    )  # fmt: skip
    assert sample_images.same(generate(request).image, theirs)
    composited = generate(request.replace(keep_original=True)).image
    assert sample_images.same(composited, Image.composite(theirs, photo, mask))
    assert not sample_images.same(composited, theirs)


@pytest.mark.parametrize("sigmas", [None, "karras"])
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_img2img_with_sd3(models: dict[str, Path], strength: float, sigmas: str | None) -> None:
    shared: dict[str, Any] = {"strength": strength, "guidance_scale": 5.0, **PROMPTS}
    ours = generate(
        Img2Img(model=str(models["sd3"]), seed=5, image=Path("photo.png"), steps=6, sigmas=sigmas, **shared)
    )
    scheduler = {"class_name": "FlowMatchEulerDiscreteScheduler", "config": {"use_karras_sigmas": sigmas == "karras"}}
    theirs = plain.generate(
        "StableDiffusion3Img2ImgPipeline", models["sd3"], seed=5, scheduler=scheduler, image=Image.open("photo.png"),
        width=32, height=32, num_inference_steps=6, **shared,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sd3", "sd3-inpaint"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_inpaint_with_sd3(models: dict[str, Path], kind: str, strength: float, guidance: float) -> None:
    photo, mask = Image.open("photo.png"), Image.open("mask.png")
    shared: dict[str, Any] = {"strength": strength, "guidance_scale": guidance, "prompt": "a red fox"}
    request = Inpaint(
        model=str(models[kind]),
        seed=5,
        image=Path("photo.png"),
        mask=Path("mask.png"),
        steps=5,
        keep_original=False,
        **shared,
    )
    theirs = plain.generate(
        "StableDiffusion3InpaintPipeline", models[kind], seed=5, image=photo, mask_image=mask, width=32, height=32,
        num_inference_steps=5, **shared,
    )  # fmt: skip
    assert sample_images.same(generate(request).image, theirs)
    composited = generate(request.replace(keep_original=True)).image
    assert sample_images.same(composited, Image.composite(theirs, photo, mask))
    assert not sample_images.same(composited, theirs)


def test_outpaint_is_inpaint_on_the_expanded_canvas(models: dict[str, Path]) -> None:
    photo = Image.open("photo.png")
    canvas, mask = images.expand_canvas(photo, left=16, top=8)
    ours = generate(
        Outpaint(
            prompt="a tree", model=str(models["sd1"]), seed=5, image=Path("photo.png"), expand="left=16,top=8",
            steps=4, guidance_scale=5.0, keep_original=False,
        )
    )  # fmt: skip
    theirs = plain.generate(
        "StableDiffusionInpaintPipeline", models["sd1"], seed=5, prompt="a tree", image=canvas, mask_image=mask,
        width=48, height=40, num_inference_steps=4, guidance_scale=5.0, strength=1.0,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


def test_odd_size_equals_diffusers_with_the_padded_image(models: dict[str, Path]) -> None:
    photo = Image.open(sample_images.photo(Path("odd.png"), 27, 35))
    padded, box = images.pad_to_multiple(photo, 8)
    ours = generate(
        Img2Img(image=Path("odd.png"), model=str(models["sd1"]), seed=5, steps=4, strength=0.5, guidance_scale=5.0)
    )
    theirs = plain.generate(
        "StableDiffusionImg2ImgPipeline", models["sd1"], seed=5, prompt="", image=padded, num_inference_steps=4,
        strength=0.5, guidance_scale=5.0,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs.crop(box))
