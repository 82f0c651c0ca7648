"""Test that images with image prompts equal plain diffusers byte for byte, and images after them images before."""

from pathlib import Path

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_image_prompts
from control_jobs import request_for
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from artgen import generate
from artgen.engine import memory_policy
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ArtgenError
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.safetensors_header import read_header

PLAIN = {"seed": 3, "num_inference_steps": 4, "guidance_scale": 6.0}
PLAIN |= {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}
PREFIXES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL"}


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.save_inputs()


@pytest.fixture(scope="module")
def adapters(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Return an adapter for each kind of model and each variant."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        (kind, variant): tiny_image_prompts.save(root / kind / variant, models[kind], variant)
        for kind in PREFIXES
        for variant in ("base", "plus")
    }


def plain_image(kind: str, task: str, model: Path, prompts: list[tuple[Path, float, str, Path | None]]) -> Image.Image:
    """Generate with plain diffusers; each prompt has an adapter, a scale, an image and a mask."""
    with plain.quiet():
        pipe = getattr(diffusers, PREFIXES[kind] + plain.SUFFIXES[task]).from_pretrained(model)
        encoder = CLIPVisionModelWithProjection.from_pretrained(prompts[0][0].parent / "image_encoder")
        size = encoder.config.image_size
        pipe.register_modules(image_encoder=encoder, feature_extractor=CLIPImageProcessor(size=size, crop_size=size))
        names = [adapter.name for adapter, *_ in prompts]
        pipe.load_ip_adapter(
            [str(adapter.parent) for adapter, *_ in prompts], subfolder=[""] * len(names), weight_name=names
        )
    pipe.set_ip_adapter_scale([scale for _, scale, *_ in prompts])
    pipe.set_progress_bar_config(disable=True)
    arguments = sample_images.task_arguments(task)
    if any(mask for *_, mask in prompts):
        images = [Image.open(mask) if mask else Image.new("L", (32, 32), 255) for *_, mask in prompts]
        masks = [IPAdapterMaskProcessor().preprocess(image, height=32, width=32) for image in images]
        arguments["cross_attention_kwargs"] = {"ip_adapter_masks": masks}
    arguments["ip_adapter_image"] = [Image.open(image) for _, _, image, _ in prompts]
    return plain.run(pipe, **{**PLAIN, **arguments})


@pytest.mark.parametrize("task", plain.SUFFIXES)
@pytest.mark.parametrize("kind", PREFIXES)
def test_on_equals_plain_and_off_equals_without(
    kind: str, task: str, models: dict[str, Path], adapters: dict[tuple[str, str], Path]
) -> None:
    adapter = adapters[kind, "base"]
    before = generate(request_for(task, models[kind])).image
    off = generate(request_for(task, models[kind], image_prompt=(f"style.png:0,model={adapter}",))).image
    on = generate(request_for(task, models[kind], image_prompt=(f"style.png:0.7,model={adapter}",))).image
    after = generate(request_for(task, models[kind])).image
    expected = plain_image(kind, task, models[kind], [(adapter, 0.7, "style.png", None)])
    assert on.tobytes() == expected.tobytes()
    assert on.tobytes() != before.tobytes()
    assert before.tobytes() == off.tobytes() == after.tobytes()


def test_the_memory_estimate_contains_the_adapter_and_its_encoder(
    models: dict[str, Path], adapters: dict[tuple[str, str], Path]
) -> None:
    path = adapters["sd1", "base"]
    texts = ((), (f"style.png:0,model={path}",), (f"style.png,model={path}", f"other.png,model={path}"))
    jobs = prepare_jobs([request_for("txt2img", models["sd1"], image_prompt=text) for text in texts])
    estimates = [memory_policy._estimate(job.model, job, 1, DeviceConfig("cpu", "fp32")) for job in jobs]
    adapter = jobs[1].image_prompts[0].adapter
    values = [read_header(file).parameter_count for file in (adapter.path, *adapter.encoder_files)]
    sizes = [each.denoiser_bytes - estimates[0].denoiser_bytes for each in estimates]
    assert sizes == [0, 0, 4 * sum(values)]


def test_two_images_with_a_mask_and_a_plus_adapter_equal_plain(
    models: dict[str, Path], adapters: dict[tuple[str, str], Path]
) -> None:
    base, plus = adapters["sd1", "base"], adapters["sd1", "plus"]
    texts = (f"style.png:0.7,mask=mask.png,model={base}", f"other.png:0.4,model={plus}")
    found = generate(request_for("txt2img", models["sd1"], image_prompt=texts)).image
    prompts = [(base, 0.7, "style.png", Path("mask.png")), (plus, 0.4, "other.png", None)]
    assert found.tobytes() == plain_image("sd1", "txt2img", models["sd1"], prompts).tobytes()


def test_adapters_are_found_by_variant_and_in_model_folders(
    models: dict[str, Path], adapters: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtgenError, match="adapter 'sd15-plus' with"):  # the tiny model has another width
        prepare_jobs([request_for("txt2img", models["sd1"], image_prompt=("style.png,model=plus",))])
    Path("comfy/models").mkdir(parents=True)
    Path("comfy/models/ipadapter").symlink_to(adapters["sd1", "base"].parent)
    monkeypatch.setenv("ARTGEN_MODEL_FOLDERS", "comfy")
    [job] = prepare_jobs([request_for("txt2img", models["sd1"], image_prompt=("style.png,model=base",))])
    assert job.image_prompts[0].adapter.path.name == "base.safetensors"
