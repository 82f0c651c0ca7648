"""Test schedules, alternation and composed prompts (AND) against hand-written loops of plain diffusers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import torch
from PIL import Image

from artgen import GeneratedImage, Img2Img, Inpaint, Txt2Img, generate, generate_all
from artgen.engine.sampling.conditioning import Conditioning, StepCounter
from artgen.engine.sampling.prompt_embeddings import prompt_embeddings
from artgen.spec.settings import FramesSettings

CLASSES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}
HEUN = {"sd1": "HeunDiscreteScheduler", "sdxl": "HeunDiscreteScheduler", "sd3": "FlowMatchHeunDiscreteScheduler"}
NEGATIVE = "a small house"


@pytest.fixture(scope="module")
def pipes(models: dict[str, Path]) -> Callable[[str, str], Any]:
    """Return a function that loads a plain pipeline once."""
    loaded: dict[tuple[str, str], Any] = {}

    def load(kind: str, task: str = "") -> Any:
        if (kind, task) not in loaded:
            loaded[kind, task] = plain.load(f"{CLASSES[kind]}{task}Pipeline", models[kind])
        return loaded[kind, task]

    return load


def run_loop(pipe: Any, texts: list[tuple[str, str]], *, cfg: bool = True, seed: int = 7, **kwargs: Any) -> Any:
    """Generate an image whose denoiser receives other texts in each call: (prompt, negative prompt) per call."""
    encoded = [prompt_embeddings(pipe, [prompt], [negative], cfg) for prompt, negative in texts]
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    calls = iter(encoded)

    def both(embeds: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        return torch.cat([embeds[f"negative_{name}"], embeds[name]]) if cfg else embeds[name]

    def forward(*args: Any, **values: Any) -> Any:
        embeds = next(calls)
        values["encoder_hidden_states"] = both(embeds, "prompt_embeds")
        if "pooled_projections" in values:
            values["pooled_projections"] = both(embeds, "pooled_prompt_embeds")
        elif "pooled_prompt_embeds" in embeds:
            values["added_cond_kwargs"] = {
                **values["added_cond_kwargs"],
                "text_embeds": both(embeds, "pooled_prompt_embeds"),
            }
        return original(*args, **values)

    original, denoiser.forward = denoiser.forward, forward
    try:
        image = plain.run(pipe, seed=seed, guidance_scale=5.0 if cfg else 1.0, **encoded[0], **kwargs)
    finally:
        del denoiser.forward
    assert next(calls, None) is None
    return image


def request(folder: Path, prompt: str, **kwargs: Any) -> Txt2Img:
    """Return a request with 5 steps."""
    settings = {"seed": 7, "steps": 5, "guidance_scale": 5.0, "negative_prompt": NEGATIVE, **kwargs}
    return Txt2Img(model=str(folder), prompt=prompt, **settings)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_schedule_equals_a_loop(models: dict[str, Path], pipes: Any, kind: str) -> None:
    ours = generate(request(models[kind], "a [red:blue:0.4] fox"))
    texts = [("a red fox", NEGATIVE)] * 2 + [("a blue fox", NEGATIVE)] * 3
    assert sample_images.same(ours.image, run_loop(pipes(kind), texts, num_inference_steps=5))
    assert ours.record["prompt"] == "a [red:blue:0.4] fox"


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_schedule_equals_the_callback_of_diffusers(models: dict[str, Path], pipes: Any, kind: str) -> None:
    pipe = pipes(kind)
    red, blue = (prompt_embeddings(pipe, [text], [NEGATIVE], True) for text in ("a red fox", "a blue fox"))
    pooled = {"sd1": None, "sdxl": "add_text_embeds", "sd3": "pooled_prompt_embeds"}[kind]

    def replace(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step != 1:
            return {}
        new = {"prompt_embeds": torch.cat([blue["negative_prompt_embeds"], blue["prompt_embeds"]])}
        if pooled:
            new[pooled] = torch.cat([blue["negative_pooled_prompt_embeds"], blue["pooled_prompt_embeds"]])
        assert values["prompt_embeds"].shape == new["prompt_embeds"].shape
        return new

    theirs = plain.run(
        pipe, seed=7, guidance_scale=5.0, num_inference_steps=5, callback_on_step_end=replace,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"], **red,
    )  # fmt: skip
    assert sample_images.same(generate(request(models[kind], "a [red:blue:2] fox")).image, theirs)


def test_alternation_and_a_schedule_of_the_negative_prompt(models: dict[str, Path], pipes: Any) -> None:
    ours = generate(request(models["sd1"], "a [red|blue|] fox", negative_prompt="[a cat:a tree:3]"))
    colors = ["red", "blue", "", "red", "blue"]
    texts = [(f"a {color} fox", "a cat" if i < 3 else "a tree") for i, color in enumerate(colors)]
    assert sample_images.same(ours.image, run_loop(pipes("sd1"), texts, num_inference_steps=5))


def test_an_empty_text_of_a_negative_schedule_has_zeros_with_sdxl(models: dict[str, Path], pipes: Any) -> None:
    ours = generate(request(models["sdxl"], "a fox", negative_prompt="[a cat::2]"))
    texts = [("a fox", "a cat")] * 2 + [("a fox", "")] * 3
    assert sample_images.same(ours.image, run_loop(pipes("sdxl"), texts, num_inference_steps=5))


@pytest.mark.parametrize("kind", ["sd1", "sd3"])
def test_a_second_order_scheduler_changes_the_prompt_between_steps(
    models: dict[str, Path], pipes: Any, kind: str
) -> None:
    ours = generate(request(models[kind], "a [red:blue:2] fox", scheduler="heun" if kind == "sd1" else "flow-heun"))
    texts = [("a red fox", NEGATIVE)] * 4 + [("a blue fox", NEGATIVE)] * 5
    pipe = pipes(kind)
    scheduler = {"class_name": HEUN[kind], "config": {}}
    assert sample_images.same(ours.image, run_loop(pipe, texts, num_inference_steps=5, scheduler=scheduler))


def test_pndm_runs_its_first_step_twice(models: dict[str, Path], pipes: Any) -> None:
    ours = generate(request(models["sd1"], "a [red:blue:1] fox", scheduler="pndm"))
    texts = [("a red fox", NEGATIVE)] * 2 + [("a blue fox", NEGATIVE)] * 4
    scheduler = {"class_name": "PNDMScheduler", "config": {"skip_prk_steps": True}}
    assert sample_images.same(ours.image, run_loop(pipes("sd1"), texts, num_inference_steps=5, scheduler=scheduler))


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_schedule_without_guidance(models: dict[str, Path], pipes: Any, kind: str) -> None:
    ours = generate(request(models[kind], "a [red:blue:0.4] fox", negative_prompt="", guidance_scale=1.0))
    texts = [("a red fox", "")] * 2 + [("a blue fox", "")] * 3
    assert sample_images.same(ours.image, run_loop(pipes(kind), texts, cfg=False, num_inference_steps=5))


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_the_first_step_of_img2img_is_step_1(models: dict[str, Path], pipes: Any, kind: str) -> None:
    path = sample_images.photo(Path("photo.png"))
    ours = generate(
        Img2Img(
            model=str(models[kind]), prompt="a [red:blue:0.4] fox", negative_prompt=NEGATIVE, image=path, strength=0.8,
            steps=5, seed=7, guidance_scale=5.0,
        )
    )  # fmt: skip
    texts = [("a red fox", NEGATIVE)] * 2 + [("a blue fox", NEGATIVE)] * 2
    theirs = run_loop(
        pipes(kind, "Img2Img"), texts, image=Image.open(path).convert("RGB"), strength=0.8, num_inference_steps=5
    )
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_images_of_a_scheduled_prompt_share_a_pipeline_call(models: dict[str, Path], kind: str) -> None:
    requests = [request(models[kind], "a [red:blue:2] fox", seed=seed) for seed in (1, 2)]
    requests.append(request(models[kind], "a [red:cat:2] fox", seed=3))
    outcomes = list(generate_all(requests, batch_size=2))
    for each, outcome, size in zip(requests, outcomes, (2, 2, 1), strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == size
        assert sample_images.difference(outcome.image, generate(each).image) <= 1


def test_a_schedule_of_long_prompts_has_equal_numbers_of_chunks(models: dict[str, Path]) -> None:
    words = "a red fox in the snow and " * 12
    long_first = generate(request(models["sd1"], f"[{words}:a cat:2]")).image
    assert not sample_images.same(long_first, generate(request(models["sd1"], "a cat")).image)
    assert not sample_images.same(long_first, generate(request(models["sd1"], words)).image)


def composed(pipe: Any, parts: list[tuple[str, float]], steps: int, guidance: float, seed: int = 7) -> np.ndarray:
    """Denoise with u + g * sum of w_i * (c_i - u), without the pipeline's loop."""
    encoded = [prompt_embeddings(pipe, [text], [NEGATIVE], True) for text, _ in parts]
    embeds = torch.cat([encoded[0]["negative_prompt_embeds"], *(each["prompt_embeds"] for each in encoded)])
    scheduler = pipe.scheduler
    scheduler.set_timesteps(steps)
    latents = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(seed)) * scheduler.init_noise_sigma
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            inputs = scheduler.scale_model_input(torch.cat([latents] * len(embeds)), timestep)
            u, *c = pipe.unet(inputs, timestep, encoder_hidden_states=embeds, return_dict=False)[0].chunk(len(embeds))
            delta = sum(weight * (each - u) for each, (_, weight) in zip(c, parts, strict=True))
            latents = scheduler.step(u + guidance * delta, timestep, latents).prev_sample
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return ((image[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round().numpy()


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a red fox AND a blue cat :0.6", [("a red fox", 1.0), ("a blue cat", 0.6)]),
        ("a fox AND a cat :-0.5 AND a tree:1.2", [("a fox", 1.0), ("a cat", -0.5), ("a tree", 1.2)]),
    ],
)
def test_composed_prompts_equal_a_loop(models: dict[str, Path], pipes: Any, prompt: str, parts: Any) -> None:
    ours = generate(request(models["sd1"], prompt))
    theirs = composed(pipes("sd1"), parts, 5, 5.0)
    assert np.abs(np.asarray(ours.image, dtype=float) - theirs).max() <= 1


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_composing_equal_parts_equals_the_part(models: dict[str, Path], kind: str) -> None:
    plain_image = generate(request(models[kind], "a red fox")).image
    ours = generate(request(models[kind], "a red fox :0.5 AND a red fox :0.5")).image
    assert sample_images.difference(ours, plain_image) <= 1
    different = generate(request(models[kind], "a red fox AND a blue cat")).image
    assert sample_images.difference(different, plain_image) > 1


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_composition_with_a_schedule(models: dict[str, Path], kind: str) -> None:
    ours = generate(request(models[kind], "a [red:blue:2] fox :0.5 AND a [red:blue:2] fox :0.5")).image
    assert sample_images.difference(ours, generate(request(models[kind], "a [red:blue:2] fox")).image) <= 1


@pytest.mark.parametrize(
    "changes",
    [{"fast": "cache", "steps": 20}, {"guidance_rescale": 0.5}, {"scheduler": "heun"}, {"prompt_weights": "a1111"}],
)
def test_composition_with_other_settings(models: dict[str, Path], changes: dict[str, Any]) -> None:
    parts = generate(request(models["sd1"], "a red fox :0.5 AND a red fox :0.5", **changes)).image
    assert sample_images.difference(parts, generate(request(models["sd1"], "a red fox", **changes)).image) <= 1


@pytest.mark.parametrize("guide", ["apg", None])
def test_guidance_methods_receive_one_prediction_for_all_parts(models: dict[str, Path], guide: str | None) -> None:
    changes: dict[str, Any] = {"guide": guide} if guide else {"guidance_scale": 2.0}
    parts = generate(request(models["sdxl"], "a red fox :0.5 AND a red fox :0.5", **changes)).image
    assert sample_images.difference(parts, generate(request(models["sdxl"], "a red fox", **changes)).image) <= 1


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_schedule_with_perturbed_attention_guidance(models: dict[str, Path], kind: str) -> None:
    images = [
        generate(request(models[kind], prompt, pag_scale=2.0)).image
        for prompt in ("a [red:blue:5] fox", "a red fox", "a [red:blue:1] fox", "a [red:blue:0] fox", "a blue fox")
    ]
    assert sample_images.same(images[0], images[1])
    assert sample_images.same(images[3], images[4])
    assert len({image.tobytes() for image in images}) == 3


def test_a_composition_with_masked_latents_and_frames(models: dict[str, Path]) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    shared: dict[str, Any] = {"image": image, "mask": mask, "seed": 1, "steps": 5, "model": "tiny", "device": "cpu"}
    plain_inpaint = Inpaint(prompt="a red fox", **shared)
    composed_inpaint = plain_inpaint.replace(prompt="a red fox :0.5 AND a red fox :0.5")
    images = [generate(each, frames=FramesSettings(frames="x.gif")) for each in (plain_inpaint, composed_inpaint)]
    assert sample_images.difference(images[0].image, images[1].image) <= 1
    assert len(images[0].frames) == len(images[1].frames)


def test_composed_images_share_a_pipeline_call(models: dict[str, Path]) -> None:
    requests = [request(models["sdxl"], "a fox AND a cat", seed=seed) for seed in (1, 2, 3)]
    for each, outcome in zip(requests, generate_all(requests, batch_size=3), strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == 3
        assert sample_images.difference(outcome.image, generate(each).image) <= 1


def test_without_schedule_and_composition_no_hook_is_attached() -> None:
    assert not Conditioning(((5, ({},)),)).is_dynamic


def test_steps_of_schedulers() -> None:
    def steps(scheduler: Any, calls: int, first_step: int = 1) -> list[int]:
        counter = StepCounter(type("Pipe", (), {"scheduler": scheduler})(), first_step)
        return [counter.count_call() for _ in range(calls)]

    assert steps(diffusers.EulerDiscreteScheduler(), 3) == [1, 2, 3]
    assert steps(diffusers.EulerDiscreteScheduler(), 3, 4) == [4, 5, 6]
    assert steps(diffusers.HeunDiscreteScheduler(), 5) == [1, 1, 2, 2, 3]
    assert steps(diffusers.PNDMScheduler(skip_prk_steps=True), 4) == [1, 1, 2, 3]
