"""Test mixed noise against the arithmetic of AUTOMATIC1111 and against plain diffusers."""

import importlib
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import torch
from PIL import Image

from artgen import Img2Img, Txt2Img, generate
from artgen.engine.sampling.variation_noise import slerp
from artgen.errors import UsageError

PIPELINES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}
PROMPTS = {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}


def reference_slerp(weight: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the interpolation of A1111 for latents of shape (C, H, W): each column is a vector."""
    angle = torch.acos(((low / low.norm(dim=1, keepdim=True)) * (high / high.norm(dim=1, keepdim=True))).sum(1))
    low_weight, high_weight = torch.sin((1 - weight) * angle) / torch.sin(angle), torch.sin(weight * angle)
    return low_weight.unsqueeze(1) * low + (high_weight / torch.sin(angle)).unsqueeze(1) * high


def noise_of(seed: int, shape: tuple[int, ...], skipped: int = 0) -> torch.Tensor:
    """Return the noise of a seed, after `skipped` other noises."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(skipped + 1)][-1]


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_slerp_equals_the_arithmetic_of_a1111(weight: float) -> None:
    low, high = noise_of(7, (4, 16, 24)), noise_of(8, (4, 16, 24))
    mixed = slerp(weight, low, high)
    assert torch.equal(mixed, reference_slerp(weight, low, high))
    assert torch.equal(slerp(weight, low[None], high[None]), mixed[None])
    assert weight not in (0.0, 1.0) or torch.equal(mixed, high if weight else low)
    assert abs(float(mixed.std()) - 1) < 0.05
    # The linear interpolation of A1111 for equal noises, with its order of the weights.
    assert torch.equal(slerp(weight, low, low * 1.5), low * weight + low * 1.5 * (1 - weight))
    assert slerp(weight, low[:, :1], high[:, :1]).isfinite().all()  # one row: all columns are parallel


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("scheduler", [None, "euler-a"])
def test_variation_equals_a_script_that_passes_mixed_latents(
    models: dict[str, Path], kind: str, scheduler: str | None
) -> None:
    if kind == "sd3" and scheduler:
        pytest.skip("flow matching has other schedulers")
    request = Txt2Img(
        model=str(models[kind]), seed=7, variation_seed=9, variation_strength=0.3, steps=3, guidance_scale=5.0,
        scheduler=scheduler, width=48, height=32, **PROMPTS,
    )  # fmt: skip
    ours = generate(request)
    pipe = plain.load(f"{PIPELINES[kind]}Pipeline", models[kind])
    if scheduler:
        pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
    channels = (pipe.transformer if kind == "sd3" else pipe.unet).config.in_channels
    shape = (channels, 32 // pipe.vae_scale_factor, 48 // pipe.vae_scale_factor)
    generator = torch.Generator("cpu").manual_seed(7)
    latents = reference_slerp(0.3, torch.randn(shape, generator=generator), noise_of(9, shape))[None]
    if kind != "sd3":
        pipe.scheduler.set_timesteps(3)  # the pipelines scale the latents that they receive
    theirs = pipe(
        latents=latents, generator=generator, num_inference_steps=3, guidance_scale=5.0, width=48, height=32, **PROMPTS
    ).images[0]
    assert sample_images.same(ours.image, theirs)
    assert (ours.record["variation_seed"], ours.record["variation_strength"]) == (9, 0.3)
    if kind == "sd1" and scheduler is None:
        plain_image = generate(request.replace(variation_strength=None, variation_seed=None)).image
        assert sample_images.same(generate(request.replace(variation_strength=0.0)).image, plain_image)
        other = generate(request.replace(seed=9, variation_strength=None, variation_seed=None)).image
        assert sample_images.same(generate(request.replace(variation_strength=1.0)).image, other)
        with pytest.raises(UsageError, match="has no effect without --variation-strength"):
            generate(request.replace(variation_strength=None))


def test_variation_of_img2img_mixes_the_noise_after_the_encoding(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_images.photo(Path("photo.png"))
    image = Image.open("photo.png").convert("RGB").resize((48, 32))
    image.save("small.png")
    request = Img2Img(
        model=str(models["sd1"]), image=Path("small.png"), seed=7, variation_seed=9, variation_strength=0.4, steps=4,
        strength=0.5, **PROMPTS,
    )  # fmt: skip
    ours = generate(request)
    module = importlib.import_module("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img")
    original = module.randn_tensor

    def mixed(shape: Any, **kwargs: Any) -> torch.Tensor:
        original(shape, **kwargs)  # the generator of the pipeline continues after its noise
        return reference_slerp(0.4, *(noise_of(seed, tuple(shape[1:]), skipped=1) for seed in (7, 9)))[None]

    monkeypatch.setattr(module, "randn_tensor", mixed)
    theirs = plain.generate(
        "StableDiffusionImg2ImgPipeline", models["sd1"], seed=7, num_inference_steps=4, image=image, strength=0.5,
        guidance_scale=ours.record["guidance_scale"], **PROMPTS,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)
    assert module.randn_tensor is mixed


def test_variations_of_one_call_equal_single_variations(models: dict[str, Path]) -> None:
    from artgen.engine.generate import GeneratedImage, generate_jobs
    from artgen.jobs.prepare import prepare_jobs

    base = Txt2Img(model=str(models["sd1"]), prompt="a red fox", seed=7, steps=2, width=48, height=32)
    requests = [base.replace(variation_strength=strength, variation_seed=3) for strength in (0.2, 0.6)]
    jobs = prepare_jobs(requests)
    assert jobs[0].group_key == jobs[1].group_key
    assert jobs[0].group_key != prepare_jobs([base])[0].group_key
    together = list(generate_jobs(jobs, batch_size=2))
    assert [each.record["batch_size"] for each in together if isinstance(each, GeneratedImage)] == [2, 2]
    for each, request in zip(together, requests, strict=True):
        assert isinstance(each, GeneratedImage)
        single = np.asarray(generate(request).image).astype(int)
        assert abs(np.asarray(each.image).astype(int) - single).max() <= 1
    assert not sample_images.same(together[0].image, together[1].image)  # type: ignore[union-attr]


def test_morph_interpolates_embeddings_and_noise(models: dict[str, Path]) -> None:
    request = Txt2Img(
        model=str(models["sd1"]), prompt="a red fox", negative_prompt="blurry", seed=7, steps=2, width=48, height=32,
        morph_prompt="a blue house", morph_negative_prompt="", morph_seed="8:9:0.25", morph_position=0.4,
    )  # fmt: skip
    ours = generate(request)
    pipe = plain.load("StableDiffusionPipeline", models["sd1"])
    shape = (pipe.unet.config.in_channels, 32 // pipe.vae_scale_factor, 48 // pipe.vae_scale_factor)
    second = reference_slerp(0.25, noise_of(8, shape), noise_of(9, shape))
    latents = reference_slerp(0.4, noise_of(7, shape), second)[None]
    arguments = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    with torch.no_grad():
        first = pipe.encode_prompt("a red fox", negative_prompt="blurry", **arguments)
        other = pipe.encode_prompt("a blue house", negative_prompt="", **arguments)
    embeds, negative = (torch.lerp(*pair, 0.4) for pair in zip(first, other, strict=True))
    theirs = pipe(
        prompt_embeds=embeds, negative_prompt_embeds=negative, latents=latents, num_inference_steps=2, width=48,
        height=32, guidance_scale=ours.record["guidance_scale"],
    ).images[0]  # fmt: skip
    assert sample_images.same(ours.image, theirs)
    assert sample_images.same(
        generate(request.replace(morph_position=0.0)).image,
        generate(Txt2Img(**{name: getattr(request, name) for name in SHARED}, negative_prompt="blurry")).image,
    )
    for values, message in (
        ({"morph_position": None}, "has no effect without --morph-position"),
        ({"morph_seed": "x"}, "must be SEED or"),
        ({"prompt": "a [cat:dog:0.5]"}, "Cannot mix prompts with schedules"),
    ):
        with pytest.raises(UsageError, match=message):
            generate(request.replace(**values))


SHARED = ("model", "prompt", "seed", "steps", "width", "height")


@pytest.mark.slow
def test_table_names_the_pipelines_without_replaceable_noise() -> None:
    from artgen.registry.pipelines import pipeline_entries

    for entry in pipeline_entries().values():
        for task in {"txt2img", "img2img", "inpaint", "outpaint"} & entry.tasks.keys():
            try:
                cls = getattr(diffusers, entry.tasks[task])
                prepare = getattr(cls, "prepare_latents", None)
            except ImportError:  # a package of the pipeline is not installed
                continue
            has_noise = prepare is not None and hasattr(importlib.import_module(prepare.__module__), "randn_tensor")
            assert has_noise == entry.initial_noise, entry.tasks[task]
