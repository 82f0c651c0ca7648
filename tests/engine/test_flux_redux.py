"""Test that Flux images with image prompts equal the pipelines of diffusers with Flux Redux byte for byte."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_controls
import tiny_image_prompts
from control_jobs import request_for
from diffusers import FluxControlNetPipeline, FluxPriorReduxPipeline
from PIL import Image

from artgen import generate, generate_all
from artgen.errors import ArtgenError
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import read_replay_spec

SETTINGS: dict[str, Any] = {"guidance_scale": 3.5, "negative_prompt": "", "steps": 2}
PLAIN = {"seed": 3, "num_inference_steps": 2, "guidance_scale": 3.5, "width": 32, "height": 32}


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.save_inputs()


@pytest.fixture(scope="module")
def redux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_image_prompts.save_redux(tmp_path_factory.mktemp("redux"), 32)


def plain_image(model: Path, redux: Path, task: str, prompts: list[tuple[str, float]], **changes: Any) -> Image.Image:
    """Generate with plain diffusers; each prompt has an image and a scale."""
    with plain.quiet():
        if "controlnet" in changes:
            pipe = FluxControlNetPipeline.from_pretrained(model, controlnet=changes.pop("controlnet"))
        else:
            infix = "Fill" if model.name == "flux-fill" else plain.SUFFIXES[task].removesuffix("Pipeline")
            pipe = getattr(diffusers, f"Flux{infix}Pipeline").from_pretrained(model)
        names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
        prior = FluxPriorReduxPipeline.from_pretrained(
            redux.parent.parent, **{name: getattr(pipe, name) for name in names}
        )
    scales = [scale for _, scale in prompts]
    found = prior(
        image=[Image.open(name) for name, _ in prompts], prompt=["a red fox in the snow"] * len(prompts),
        prompt_embeds_scale=scales, pooled_prompt_embeds_scale=scales,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    inputs = sample_images.task_arguments(task)
    if model.name == "flux-fill":
        del inputs["strength"]
    return plain.run(pipe, **{**PLAIN, **found, **inputs, **changes})


@pytest.mark.parametrize("task", plain.SUFFIXES)
def test_on_equals_plain_and_off_equals_without(task: str, zoo: Mapping[str, Path], redux: Path) -> None:
    model = zoo["flux-dev"]
    before = generate(request_for(task, model, **SETTINGS)).image
    on = generate(request_for(task, model, image_prompt=(f"style.png:0.7,model={redux}",), **SETTINGS)).image
    off = generate(request_for(task, model, image_prompt=(f"style.png:0,model={redux}",), **SETTINGS)).image
    assert on.tobytes() == plain_image(model, redux, task, [("style.png", 0.7)]).tobytes()
    assert on.tobytes() != before.tobytes()
    assert before.tobytes() == off.tobytes()


def test_two_images_and_a_negative_prompt_equal_plain(zoo: Mapping[str, Path], redux: Path) -> None:
    texts = (f"style.png:0.7,model={redux}", f"other.png:0.4,model={redux}")
    settings = {**SETTINGS, "negative_prompt": "a house"}
    found = generate(request_for("txt2img", zoo["flux-dev"], image_prompt=texts, **settings)).image
    prompts = [("style.png", 0.7), ("other.png", 0.4)]
    true_cfg = {"negative_prompt": "a house", "true_cfg_scale": 4.0}
    assert found.tobytes() == plain_image(zoo["flux-dev"], redux, "txt2img", prompts, **true_cfg).tobytes()


@pytest.mark.parametrize(
    ("name", "task", "guidance"), [("flux-schnell", "txt2img", 0.0), ("flux-fill", "inpaint", 9.0)]
)
def test_variants_of_flux_equal_plain(
    name: str, task: str, guidance: float, zoo: Mapping[str, Path], redux: Path
) -> None:
    settings = {**SETTINGS, "guidance_scale": guidance or None, "image_prompt": (f"style.png,model={redux}",)}
    found = generate(request_for(task, zoo[name], **settings)).image
    expected = plain_image(zoo[name], redux, task, [("style.png", 1.0)], guidance_scale=guidance)
    assert found.tobytes() == expected.tobytes()


def test_control_net_equals_plain_and_a_batch_has_its_own_prompts(
    zoo: Mapping[str, Path], redux: Path, tmp_path: Path
) -> None:
    model = zoo["flux-dev"]
    module = tiny_controls.build("flux", model)
    module.save_pretrained(tmp_path / "net")
    tiny_controls.control_map().save("map.png")
    prompts = {"control": (f"raw=map.png,scale=0.7,model={tmp_path / 'net'}",)}
    prompts["image_prompt"] = (f"style.png:0.7,model={redux}",)
    request = request_for("txt2img", model, **prompts, **SETTINGS)
    first, second = generate_all([request, request.replace(prompt="a blue car")], batch_size=2)
    expected = plain_image(
        model, redux, "txt2img", [("style.png", 0.7)], controlnet=module, control_image=Image.open("map.png"),
        controlnet_conditioning_scale=0.7,
    )  # fmt: skip
    assert sample_images.same(generate(request).image, expected)
    assert sample_images.difference(first.image, expected) <= 1
    assert first.image.tobytes() != second.image.tobytes()


def test_record_is_replayed_with_the_recorded_hashes(zoo: Mapping[str, Path], redux: Path) -> None:
    request = request_for("txt2img", zoo["flux-dev"], image_prompt=(f"style.png:0.7,model={redux}",), **SETTINGS)
    result = generate(request)
    assert result.record["image_prompt"] == ["style.png:0.7,model=diffusion_pytorch_model.safetensors"]
    assert all(len(result.record[name][0]) == 64 for name in ("image_prompt_adapter_sha256", "image_encoder_sha256"))
    result.save("fox.png")
    spec = read_replay_spec(Path("fox.png"), {"model": str(zoo["flux-dev"])})
    assert generate(spec.request).image.tobytes() == result.image.tobytes()
    Image.new("RGB", (9, 9)).save("style.png")
    with pytest.raises(ArtgenError, match=r"style\.png"):
        read_replay_spec(Path("fox.png"), {"model": str(zoo["flux-dev"])})


def test_unsupported_combinations_are_refused(
    zoo: Mapping[str, Path], models: Mapping[str, Path], redux: Path, tmp_path: Path
) -> None:
    adapter = tiny_image_prompts.save(tmp_path / "adapter", models["sd1"])
    other = tiny_image_prompts.save_redux(tmp_path / "other", 48)
    cases = (
        ("flux-dev", f"style.png,mask=mask.png,model={redux}", "Flux Redux has no masks"),
        ("flux-dev", f"style.png,model={adapter}", "it is an IP-Adapter"),
        ("flux-dev", f"style.png,model={other}", "text embeddings of width 48, and the model has 32"),
        ("flux-kontext", f"style.png,model={redux}", "image prompt with txt2img and Flux.1 Kontext"),
        ("flux-dev", "style.png", "no default adapter"),
    )
    for name, text, message in cases:
        with pytest.raises(ArtgenError, match=message):
            prepare_jobs([request_for("txt2img", zoo[name], image_prompt=(text,), **SETTINGS)])
    with pytest.raises(ArtgenError, match="it is Flux Redux"):
        prepare_jobs([request_for("txt2img", models["sd1"], image_prompt=(f"style.png,model={redux}",))])
    texts = (f"style.png,model={redux}", f"style.png,model={other}")
    with pytest.raises(ArtgenError, match="different adapters"):
        prepare_jobs([request_for("txt2img", zoo["flux-dev"], image_prompt=texts, **SETTINGS)])
