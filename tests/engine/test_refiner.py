"""Test --refiner, the ensemble of expert denoisers of SDXL, and the refiner as the model of img2img."""

import gc
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line
import diffusers
import plain_scripts
import pytest
import sample_images
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import GeneratedImage, Img2Img, Txt2Img, generate, generate_all, replay
from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.sampling import refiner as refiner_module
from artgen.errors import ArtgenError, ModelUnavailableError, UsageError
from artgen.spec.refiner import parse_refiner

PROMPTS: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "house", "guidance_scale": 4.0}
SIZE: dict[str, int] = {"width": 64, "height": 64}


@pytest.fixture(scope="module")
def base(zoo: Mapping[str, Path]) -> Path:
    return zoo["sdxl"]


@pytest.fixture(scope="module")
def refiner(zoo: Mapping[str, Path]) -> Path:
    return zoo["sdxl-refiner"]


def plain(
    base: Path,
    refiner: Path,
    switch: float,
    steps: int,
    scheduler: str = "",
    image: Path | None = None,
    vae: Path | None = None,
) -> Image.Image:
    """Run the two pipelines of the guide of diffusers."""
    task = "" if image is None else "Img2Img"
    with plain_scripts.quiet():
        first = plain_scripts.load(f"StableDiffusionXL{task}Pipeline", base)
        second = plain_scripts.load("StableDiffusionXLImg2ImgPipeline", refiner)
    for pipe in (first, second):
        if scheduler:
            pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
        if vae:
            pipe.vae = diffusers.AutoencoderKL.from_pretrained(vae)
    generator = torch.Generator("cpu").manual_seed(7)
    call = {**PROMPTS, "num_inference_steps": steps, "generator": generator}
    inputs: dict[str, Any] = SIZE if image is None else {"image": Image.open(image).convert("RGB"), "strength": 0.8}
    latents = first(**call, **inputs, denoising_end=switch, output_type="latent").images
    result: Image.Image = second(**call, image=latents, denoising_start=switch).images[0]
    return result


def request(base: Path, refiner: Path | str, **settings: Any) -> Txt2Img:
    return Txt2Img(
        **{"model": str(base), "refiner": str(refiner), "seed": 7, "steps": 5, **PROMPTS, **SIZE, **settings}
    )


@pytest.mark.parametrize(
    ("switch", "steps", "scheduler", "diffusers_class"),
    [
        (0.8, 5, None, ""),
        (0.5, 4, "euler", "EulerDiscreteScheduler"),
        (0.6, 5, "euler-a", "EulerAncestralDiscreteScheduler"),
        (0.8, 10, "ddim", "DDIMScheduler"),
    ],
)
def test_refiner_gives_the_image_of_two_pipelines(
    base: Path, refiner: Path, switch: float, steps: int, scheduler: str | None, diffusers_class: str
) -> None:
    expected = plain(base, refiner, switch, steps, diffusers_class)
    result = generate(request(base, f"{refiner}:{switch}", steps=steps, scheduler=scheduler))
    assert result.image == expected
    assert result.record["refiner"] == f"{refiner.name}:{switch}"
    assert len(result.record["refiner_hash"]) == 64


def test_refiner_of_img2img(base: Path, refiner: Path) -> None:
    image = sample_images.photo(Path("in.png"), 64, 64)
    settings: dict[str, Any] = {"model": str(base), "image": image, "strength": 0.8, "steps": 10, "seed": 7, **PROMPTS}
    assert generate(Img2Img(refiner=str(refiner), **settings)).image == plain(base, refiner, 0.8, 10, image=image)


def test_another_vae_also_decodes_the_image_of_the_refiner(base: Path, refiner: Path, tmp_path: Path) -> None:
    vae = Path(shutil.copytree(base / "vae", tmp_path / "vae"))
    weights = vae / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.1 for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    image = generate(request(base, f"{refiner}:0.8", vae=str(vae))).image
    assert image == plain(base, refiner, 0.8, 5, vae=vae)
    assert image != generate(request(base, f"{refiner}:0.8")).image


def test_base_model_as_refiner(base: Path) -> None:
    """Another SDXL model than the refiner of Stability AI works as in diffusers."""
    assert generate(request(base, base)).image == plain(base, base, 0.8, 5)


def test_images_do_not_depend_on_the_memory(base: Path, refiner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Release the base model if both do not fit, and load each of them again for the next image."""
    requests = [request(base, refiner, seed=seed) for seed in (7, 8)]
    pipeline_cache.clear_cache()
    both = [outcome.image for outcome in generate_all(requests)]
    assert len(loaded_models.active_values()) == 2
    monkeypatch.setattr(refiner_module, "fits_beside", lambda *_: False)
    read = pipeline_cache._read_pipeline
    denoisers: list[int] = []

    def num_denoisers() -> int:
        return sum(isinstance(each, diffusers.UNet2DConditionModel) for each in gc.get_objects())

    def count_denoisers(*arguments: Any) -> Any:
        denoisers.append(num_denoisers())
        return read(*arguments)

    monkeypatch.setattr(pipeline_cache, "_read_pipeline", count_denoisers)
    plain_scripts._cached_pipeline.cache_clear()
    pipeline_cache.clear_cache()
    gc.collect()
    num_of_other_tests = num_denoisers()
    log = plain_scripts.EventLog()
    assert [outcome.image for outcome in generate_all(requests, listener=log)] == both
    assert len(loaded_models.active_values()) == 1
    assert sum("Releasing the base model" in str(event) for event in log.events) == 2
    assert denoisers == [num_of_other_tests] * 4


def test_batches_with_a_refiner(base: Path, refiner: Path) -> None:
    requests = [request(base, refiner, seed=seed, prompt=prompt) for seed, prompt in ((1, "a cat"), (2, "a big tree"))]
    single = [generate(each).image for each in requests]
    for outcome, expected in zip(generate_all(requests, batch_size=2), single, strict=True):
        assert isinstance(outcome, GeneratedImage)
        difference = torch.tensor(list(outcome.image.tobytes())) - torch.tensor(list(expected.tobytes()))
        assert difference.abs().max() <= 1


def test_the_noise_of_the_refiner_depends_only_on_the_seed(base: Path, refiner: Path) -> None:
    pytest.importorskip("torchsde")
    first, second = (generate(request(base, refiner, scheduler="dpm++sde", steps=6, seed=3)).image for _ in range(2))
    assert first == second


def test_long_prompts_with_a_refiner(base: Path, refiner: Path) -> None:
    long_prompt = "a red fox in the snow and " * 20
    images = [
        generate(request(base, refiner, prompt=long_prompt, long_prompt=each)).image for each in ("chunk", "truncate")
    ]
    assert images[0] != images[1]


def test_replay_of_a_refined_image(base: Path, refiner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = Path(shutil.copytree(refiner, "my refiner"))
    result = generate(request(base, f"{local}:0.6"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("a.json").write_text(json.dumps(result.record))
    assert replay(Path("a.json")).image == result.image
    shutil.rmtree(tmp_path / "work" / "my refiner")
    with pytest.raises(ModelUnavailableError, match="the refiner 'my refiner' with SHA-256"):
        replay(Path("a.json"))
    changed = replay(Path("a.json"), refiner=f"{refiner}:0.8")
    assert changed.image == generate(request(base, refiner)).image


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": "sd1"}, UsageError, "needs a Stable Diffusion XL base model"),
        ({"refiner": "sd1"}, ModelUnavailableError, "as a refiner: it is sd1"),
        ({"refiner": "sdxl-inpaint"}, ModelUnavailableError, "as a refiner: it is an inpainting model"),
        ({"refiner": "nowhere/none:0.8", "offline": True}, ModelUnavailableError, "not on this computer"),
        ({"fast": "cache", "steps": 20}, UsageError, "--fast cache"),
        ({"steps": 1}, UsageError, "the base model has no step"),
        ({"offload": "text"}, UsageError, "the refiner has a text encoder of its own"),
    ],
)
def test_unsupported_refiners_are_refused_before_loading(
    settings: dict[str, Any], error: type[ArtgenError], message: str, base: Path, refiner: Path,
    zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    paths = {key: str(zoo[settings[key]]) for key in ("model", "refiner") if settings.get(key, "") in zoo}
    monkeypatch.setattr(pipeline_cache, "cached", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(error, match=message) as raised:
        generate(request(base, **{"refiner": refiner, **settings, **paths}))
    assert raised.value.hint


def test_inpaint_refuses_a_refiner(base: Path, refiner: Path) -> None:
    command_line.save_inputs()
    result = command_line.run(
        "inpaint", "in.png", "x", "--mask", "mask.png", "-m", str(base), "--refiner", str(refiner), code=2
    )
    assert "it works with txt2img and img2img, and the task is inpaint" in result.output


def test_frames_refuse_a_refiner(base: Path, refiner: Path) -> None:
    arguments = ("txt2img", "x", "-m", str(base), "--refiner", str(refiner), "--steps", "5", "--frames", "steps.gif")
    assert "Frames cannot show the steps of two models" in command_line.run(*arguments, code=2).output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sdxl", ("sdxl", 0.8)),
        ("owner/name@v1:0.5", ("owner/name@v1", 0.5)),
        ("C:\\models\\refiner.safetensors", ("C:\\models\\refiner.safetensors", 0.8)),
        ("a:b:0.25", ("a:b", 0.25)),
    ],
)
def test_parse_refiner(text: str, expected: tuple[str, float]) -> None:
    spec = parse_refiner(text)
    assert spec == expected
    assert parse_refiner(str(spec)) == spec


@pytest.mark.parametrize("text", ["", ":0.8", "x:0", "x:1", "x:1.5", "x:-0.2", "x:nan", "x:inf"])
def test_invalid_refiners_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="refiner must be MODEL"):
        parse_refiner(text)


@pytest.mark.parametrize("prompt", ["a red fox", "a red fox in the snow and " * 20])
def test_the_refiner_as_the_model_of_img2img(refiner: Path, prompt: str) -> None:
    image = sample_images.photo(Path("in.png"), 64, 64)
    call: dict[str, Any] = {**PROMPTS, "prompt": prompt, "strength": 0.6}
    expected = plain_scripts.generate(
        "StableDiffusionXLImg2ImgPipeline", refiner, seed=7, num_inference_steps=5, image=Image.open(image), **call
    )
    request = Img2Img(model=str(refiner), image=image, seed=7, steps=5, long_prompt="truncate", **call)
    assert generate(request).image == expected


def test_the_refiner_continues_the_schedule_of_the_base_model(base: Path, refiner: Path) -> None:
    def image(prompt: str) -> Image.Image:
        return generate(request(base, refiner, prompt=prompt, steps=10)).image

    scheduled = image("a [red:blue:9] fox")
    assert not any(sample_images.same(scheduled, image(text)) for text in ("a red fox", "a blue fox"))
    assert sample_images.same(image("a [red:red:9] fox"), image("a red fox"))
    assert not sample_images.same(image("a red fox AND a cat"), image("a red fox"))
