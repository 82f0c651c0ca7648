"""Test CUDA: parity in fp16, optimizations, offloading and out-of-memory errors. Skipped without a CUDA device."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_models
import torch
from PIL import Image

from artgen import GeneratedImage, Img2Img, Inpaint, Txt2Img, generate, generate_all, registry
from artgen.engine.acceleration.cuda_graphs import CudaGraphRecorder, cached_graphs
from artgen.engine.generate import generate_jobs
from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import MemoryExhaustedError, NonFiniteError, UsageError
from artgen.events import ModelSelected, PlanNote, no_op
from artgen.jobs.batch_size import ExactBatchSize
from artgen.jobs.prepare import prepare_jobs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "a house", "guidance_scale": 5.0}
MIB = 2**20


@pytest.fixture(autouse=True)
def _clean_memory() -> Iterator[None]:
    pipeline_cache.clear_cache()
    yield
    pipeline_cache.clear_cache()


def generate_plain(cls: str, folder: Path, seed: int, **kwargs: Any) -> Image.Image:
    absent = dict.fromkeys(plain.ABSENT) if cls.startswith("StableDiffusion3") else {}
    with plain.quiet():
        pipe = getattr(diffusers, cls).from_pretrained(folder, torch_dtype=torch.float16, **absent).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    image: Image.Image = pipe(generator=torch.Generator("cpu").manual_seed(seed), **kwargs).images[0]
    del pipe
    gc.collect()
    return image


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("sd1", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline"), ("sd3", "StableDiffusion3Pipeline")],
)
def test_default_is_fp16_and_byte_identical_to_diffusers(models: dict[str, Path], kind: str, cls: str) -> None:
    events = plain.EventLog()
    generated = generate(Txt2Img(model=str(models[kind]), seed=7, steps=4, **SETTINGS), listener=events)
    assert (generated.record["device"], generated.record["dtype"]) == ("cuda", "fp16")
    assert ModelSelected(str(models[kind]), "cuda", "fp16") in events.events
    assert sample_images.same(generated.image, generate_plain(cls, models[kind], 7, num_inference_steps=4, **SETTINGS))


@pytest.mark.parametrize(("kind", "cls"), [("sd1", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline")])
def test_cuda_graph_is_bit_identical(models: dict[str, Path], kind: str, cls: str) -> None:
    events = plain.EventLog()
    request = Txt2Img(model=str(models[kind]), seed=7, steps=10, acceleration="exact", **SETTINGS)
    ours = [generate(request.replace(seed=seed), listener=events).image for seed in (7, 8, 7)]
    assert any(isinstance(event, PlanNote) and event.text.startswith("Using a CUDA graph") for event in events.events)
    assert events.notes == []
    pipe = pipeline_cache.load_pipeline(
        registry.resolve_model(str(models[kind])), DeviceConfig("cuda", "fp16"),
        offload=None, vae_tiling=False, safety_checker=True, listener=no_op,
    )  # fmt: skip
    assert cached_graphs(pipe.unet) > 0
    assert sample_images.same(ours[0], generate_plain(cls, models[kind], 7, num_inference_steps=10, **SETTINGS))
    assert sample_images.same(ours[0], ours[2])
    assert sample_images.same(generate(request.replace(acceleration="none")).image, ours[0])


def test_failed_capture_leaves_the_device_usable(models: dict[str, Path]) -> None:
    recorder, tensor = CudaGraphRecorder(torch.device("cuda")), torch.ones(3, device="cuda")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            recorder.record(lambda: (tensor * tensor.sum().item(),))
    outputs, replay = recorder.record(lambda: (tensor + 1,))
    tensor.fill_(4)
    replay()
    assert outputs[0].tolist() == [5.0] * 3
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    loaded_models.empty_device_cache()
    generate(Txt2Img(model=str(models["sd1"]), seed=7, steps=10, acceleration="exact", **SETTINGS))


def test_fp8_weights_are_not_captured(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=10, quantize="fp8", acceleration="exact", **SETTINGS)
    first, second = generate(request).image, generate(request).image
    assert sample_images.same(first, second)
    assert sample_images.same(first, generate(request.replace(acceleration="none")).image)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_images_do_not_depend_on_the_other_images_of_a_batch(
    models: dict[str, Path], kind: str, deterministic: bool
) -> None:
    """The batch size is constant: the shapes select the kernels."""
    settings = [{**SETTINGS, "prompt": f"a fox {seed}"} for seed in range(5)]
    requests = [Txt2Img(model=str(models[kind]), seed=seed, steps=4, **each) for seed, each in enumerate(settings)]

    def run(requests: list[Txt2Img]) -> list[Image.Image]:
        outcomes = list(generate_jobs(prepare_jobs(requests), batch_size=ExactBatchSize(4)))
        return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]

    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        forward, backward = run(requests), run(requests[::-1])[::-1]
        single = [run([request])[0] for request in requests]
    finally:
        torch.use_deterministic_algorithms(False)
    for first, second, third in zip(forward, backward, single, strict=True):
        assert sample_images.same(first, second)
        assert sample_images.same(first, third)


def test_nan_error_names_the_step(models: dict[str, Path], tmp_path: Path) -> None:
    broken = str(tiny_models.without_numbers(tmp_path / "broken", models["sd1"]))
    for steps in (1, 6):
        with pytest.raises(NonFiniteError, match="at step 1"):
            generate(Txt2Img(model=broken, seed=7, steps=steps, **SETTINGS))


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_full_acceleration_is_close_and_recorded(models: dict[str, Path], kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), seed=7, steps=10, **SETTINGS)
    exact, full = generate(request), generate(request.replace(acceleration="full"))
    assert "rounding" not in exact.record
    assert full.record["rounding"][:2] == ["channels last", "fused projections"]
    assert ("decoder in bf16" in full.record["rounding"]) == (kind == "sdxl")
    assert sample_images.difference(full.image, exact.image) <= 8
    assert sample_images.same(generate(request).image, exact.image)


def test_img2img_and_inpaint_are_byte_identical_to_diffusers(models: dict[str, Path]) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    shared: dict[str, Any] = {"strength": 0.6, **SETTINGS}
    ours = generate(Img2Img(model=str(models["sd1"]), image=image, seed=7, steps=5, **shared)).image
    theirs = generate_plain(
        "StableDiffusionImg2ImgPipeline", models["sd1"], 7, image=Image.open(image), num_inference_steps=5, **shared
    )
    assert sample_images.same(ours, theirs)
    request = Inpaint(model=str(models["sd1"]), image=image, mask=mask, seed=7, steps=5, keep_original=False, **shared)
    theirs = generate_plain(
        "StableDiffusionInpaintPipeline", models["sd1"], 7, image=Image.open(image), mask_image=Image.open(mask),
        width=32, height=32, num_inference_steps=5, **shared,
    )  # fmt: skip
    assert sample_images.same(generate(request).image, theirs)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_changes_no_pixel_and_frees_the_gpu(models: dict[str, Path], offload: str, dtype: str) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=3, dtype=dtype, **SETTINGS)
    expected = generate(request).image
    pipeline_cache.clear_cache()
    before = torch.cuda.memory_allocated()
    for _ in range(2):  # Before the second request, the components are in CPU memory again.
        generated = generate(request.replace(offload=offload))
        assert sample_images.same(generated.image, expected)
        assert generated.record["offload"] == offload
        assert torch.cuda.memory_allocated() <= before + MIB


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("offload", ["text", "group"])
def test_text_and_group_offloading_change_no_pixel(models: dict[str, Path], offload: str, kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), seed=7, steps=3, **SETTINGS)
    expected = generate(request).image
    for _ in range(2):
        assert sample_images.same(generate(request.replace(offload=offload)).image, expected)


def test_auto_offloading_respects_the_budget_and_changes_no_pixel(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=3, **SETTINGS)
    expected = generate(request).image
    pipeline_cache.clear_cache()
    torch.cuda.reset_peak_memory_stats()
    events = plain.EventLog()
    generated = generate(request.replace(offload="auto", memory_budget="300MiB"), listener=events)
    assert sample_images.same(generated.image, expected)
    assert any(isinstance(event, PlanNote) for event in events.events)
    assert generated.record["offload"] == "none"
    assert torch.cuda.max_memory_reserved() <= 300 * MIB


def test_offloading_works_for_several_tasks(models: dict[str, Path]) -> None:
    image = sample_images.photo(Path("photo.png"))
    shared: dict[str, Any] = {"model": str(models["sd1"]), "seed": 7, "steps": 3, **SETTINGS}
    expected = generate(Img2Img(image=image, strength=0.7, **shared)).image
    generate(Txt2Img(offload="model", **shared))
    assert sample_images.same(generate(Img2Img(image=image, strength=0.7, offload="model", **shared)).image, expected)


def test_device_with_an_index(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=2, device="cuda:0", **SETTINGS)
    assert generate(request).record["device"] == "cuda:0"
    with pytest.raises(UsageError, match="cuda:99"):
        generate(request.replace(device="cuda:99"))


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Limit the process to the memory that is allocated now and 256 MiB more."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 256 * MIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("limited_memory")
def test_out_of_memory_error_halves_the_batch_size(models: dict[str, Path]) -> None:
    size = {"width": 256, "height": 256}
    requests = [
        Txt2Img(model=str(models["sd1"]), seed=seed, steps=2, offload="none", **SETTINGS, **size) for seed in range(64)
    ]
    events = plain.EventLog()
    outcomes = list(generate_all(requests, batch_size=64, listener=events))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes)
    assert events.notes
    assert events.notes[0].startswith("Out of memory. Retrying with batch size")
    last = outcomes[-1]
    assert isinstance(last, GeneratedImage)
    assert last.record["fallbacks"][0] == "batch size 32"
    assert [outcome.request.seed for outcome in outcomes] == list(range(64))


@pytest.mark.usefixtures("limited_memory")
def test_out_of_memory_error_after_all_fallbacks_is_reported(models: dict[str, Path]) -> None:
    request = Txt2Img(
        model=str(models["sd1"]), seed=1, steps=1, width=4096, height=4096, offload="none", vae_tiling=True, **SETTINGS
    )
    with pytest.raises(MemoryExhaustedError):
        generate(request)
    assert generate(request.replace(width=32, height=32))
