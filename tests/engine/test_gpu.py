"""On a CUDA device: parity in fp16, offloading, and running out of real memory. Skipped where there is none."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import tiny_models
import torch
from PIL import Image

from artgen import GeneratedImage, Img2Img, Inpaint, Txt2Img, generate, generate_all
from artgen.engine.acceleration.cuda_graphs import CudaGraphRecorder
from artgen.engine.generate import generate_jobs
from artgen.engine.loading import pipeline_cache
from artgen.errors import MemoryExhaustedError, NonFiniteError, UsageError
from artgen.events import ModelSelected, PlanNote
from artgen.jobs.batch_size import ExactBatchSize
from artgen.jobs.prepare import prepare_jobs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

WORDS: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "a house", "guidance_scale": 5.0}
MIB = 2**20


@pytest.fixture(autouse=True)
def _clean_memory() -> Iterator[None]:
    pipeline_cache.clear_cache()
    yield
    pipeline_cache.clear_cache()


def plainly(cls: str, folder: Path, seed: int, **arguments: Any) -> Image.Image:
    absent = dict.fromkeys(plain.ABSENT) if cls.startswith("StableDiffusion3") else {}
    with plain.quiet():
        pipe = getattr(diffusers, cls).from_pretrained(folder, torch_dtype=torch.float16, **absent).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    image: Image.Image = pipe(generator=torch.Generator("cpu").manual_seed(seed), **arguments).images[0]
    del pipe
    gc.collect()
    return image


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("sd1", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline"), ("sd3", "StableDiffusion3Pipeline")],
)
def test_fp16_by_default_and_byte_for_byte(models: dict[str, Path], kind: str, cls: str) -> None:
    heard = plain.Heard()
    ours = generate(Txt2Img(model=str(models[kind]), seed=7, steps=4, **WORDS), listener=heard)
    assert (ours.record["device"], ours.record["dtype"]) == ("cuda", "fp16")
    assert ModelSelected(str(models[kind]), "cuda", "fp16") in heard.events
    assert plain.same(ours.image, plainly(cls, models[kind], 7, num_inference_steps=4, **WORDS))


@pytest.mark.parametrize(("kind", "cls"), [("sd1", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline")])
def test_a_graph_of_the_step_changes_no_bit(models: dict[str, Path], kind: str, cls: str) -> None:
    heard = plain.Heard()
    request = Txt2Img(model=str(models[kind]), seed=7, steps=10, **WORDS)
    ours = [generate(request.replace(seed=seed), listener=heard).image for seed in (7, 8, 7)]
    assert any(isinstance(event, PlanNote) and event.text.startswith("a CUDA graph") for event in heard.events)
    module = next(iter(pipeline_cache._cache.values())).unet
    assert module.__dict__["_artgen_graphed"]._recorded, "it was captured, and repeats the step bit for bit"
    assert plain.same(ours[0], plainly(cls, models[kind], 7, num_inference_steps=10, **WORDS))
    assert plain.same(ours[0], ours[2])
    assert plain.same(generate(request.replace(acceleration="none")).image, ours[0])


def test_work_that_waits_is_not_captured_and_leaves_the_device_usable(models: dict[str, Path]) -> None:
    recorder, tensor = CudaGraphRecorder(torch.device("cuda")), torch.ones(3, device="cuda")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            recorder.record(lambda: (tensor * tensor.sum().item(),))
    outputs, again = recorder.record(lambda: (tensor + 1,))
    tensor.fill_(4)
    again()
    assert outputs[0].tolist() == [5.0] * 3
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    pipeline_cache.empty_cuda_cache()
    generate(Txt2Img(model=str(models["sd1"]), seed=7, steps=10, **WORDS))


def test_weights_in_8_bits_have_no_graph(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=10, quantize="fp8", **WORDS)
    first, second = generate(request).image, generate(request).image
    assert plain.same(first, second)
    assert plain.same(first, generate(request.replace(acceleration="none")).image)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_no_bit_depends_on_neighbours_or_place(models: dict[str, Path], kind: str, pinned: bool) -> None:
    """At one number of rows; kernels are chosen by shapes, and those are the same."""
    words = [{**WORDS, "prompt": f"a fox {seed}"} for seed in range(5)]
    requests = [Txt2Img(model=str(models[kind]), seed=seed, steps=4, **each) for seed, each in enumerate(words)]

    def drawn(requests: list[Txt2Img]) -> list[Image.Image]:
        outcomes = list(generate_jobs(prepare_jobs(requests), batch_size=ExactBatchSize(4)))
        return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]

    torch.use_deterministic_algorithms(pinned, warn_only=True)
    try:
        together, turned = drawn(requests), drawn(requests[::-1])[::-1]
        alone = [drawn([request])[0] for request in requests]
    finally:
        torch.use_deterministic_algorithms(False)
    for first, second, third in zip(together, turned, alone, strict=True):
        assert plain.same(first, second)
        assert plain.same(first, third)


def test_nan_is_told_with_its_step_though_nothing_waits_for_it(models: dict[str, Path], tmp_path: Path) -> None:
    broken = str(tiny_models.without_numbers(tmp_path / "broken", models["sd1"]))
    for steps in (1, 6):
        with pytest.raises(NonFiniteError, match="at step 1"):
            generate(Txt2Img(model=broken, seed=7, steps=steps, **WORDS))


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_full_acceleration_rounds_otherwise_and_says_so(models: dict[str, Path], kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), seed=7, steps=10, **WORDS)
    exact, full = generate(request), generate(request.replace(acceleration="full"))
    assert "rounding" not in exact.record
    assert full.record["rounding"][:2] == ["channels last", "fused projections"]
    assert ("decoder in bf16" in full.record["rounding"]) == (kind == "sdxl")
    assert plain.difference(full.image, exact.image) <= 8
    assert plain.same(generate(request).image, exact.image)


def test_redrawing_and_inpainting_byte_for_byte(models: dict[str, Path]) -> None:
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    shared: dict[str, Any] = {"strength": 0.6, **WORDS}
    ours = generate(Img2Img(model=str(models["sd1"]), image=image, seed=7, steps=5, **shared)).image
    theirs = plainly(
        "StableDiffusionImg2ImgPipeline", models["sd1"], 7, image=Image.open(image), num_inference_steps=5, **shared
    )
    assert plain.same(ours, theirs)
    request = Inpaint(model=str(models["sd1"]), image=image, mask=mask, seed=7, steps=5, keep_original=False, **shared)
    theirs = plainly(
        "StableDiffusionInpaintPipeline", models["sd1"], 7, image=Image.open(image), mask_image=Image.open(mask),
        width=32, height=32, num_inference_steps=5, **shared,
    )  # fmt: skip
    assert plain.same(generate(request).image, theirs)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_changes_no_pixel_and_leaves_the_gpu_empty(
    models: dict[str, Path], offload: str, dtype: str
) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=3, dtype=dtype, **WORDS)
    whole = generate(request).image
    pipeline_cache.clear_cache()
    before = torch.cuda.memory_allocated()
    for _ in range(2):  # the second request finds the parts back in main memory
        made = generate(request.replace(offload=offload))
        assert plain.same(made.image, whole)
        assert made.record["offload"] == offload
        assert torch.cuda.memory_allocated() <= before + MIB


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("offload", ["text", "group"])
def test_layers_that_come_and_go_change_no_pixel(models: dict[str, Path], offload: str, kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), seed=7, steps=3, **WORDS)
    whole = generate(request).image
    for _ in range(2):
        assert plain.same(generate(request.replace(offload=offload)).image, whole)


def test_auto_keeps_within_its_budget_and_gives_the_same_pixels(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=3, **WORDS)
    whole = generate(request).image
    pipeline_cache.clear_cache()
    torch.cuda.reset_peak_memory_stats()
    heard = plain.Heard()
    made = generate(request.replace(offload="auto", memory_budget="300MiB"), listener=heard)
    assert plain.same(made.image, whole)
    assert any(isinstance(event, PlanNote) for event in heard.events)
    assert made.record["offload"] == "none"
    assert torch.cuda.max_memory_reserved() <= 300 * MIB


def test_offloading_serves_several_tasks(models: dict[str, Path]) -> None:
    image = plain.photo(Path("photo.png"))
    shared: dict[str, Any] = {"model": str(models["sd1"]), "seed": 7, "steps": 3, **WORDS}
    whole = generate(Img2Img(image=image, strength=0.7, **shared)).image
    generate(Txt2Img(offload="model", **shared))
    assert plain.same(generate(Img2Img(image=image, strength=0.7, offload="model", **shared)).image, whole)


def test_a_device_by_number(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, steps=2, device="cuda:0", **WORDS)
    assert generate(request).record["device"] == "cuda:0"
    with pytest.raises(UsageError, match="cuda:99"):
        generate(request.replace(device="cuda:99"))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The GPU as one that is nearly full: what is allocated now, and 256 MiB more."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 256 * MIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_real_lack_of_memory_halves_the_batch_until_it_fits(models: dict[str, Path]) -> None:
    size = {"width": 256, "height": 256}
    requests = [
        Txt2Img(model=str(models["sd1"]), seed=seed, steps=2, offload="none", **WORDS, **size) for seed in range(64)
    ]
    heard = plain.Heard()
    outcomes = list(generate_all(requests, batch_size=64, listener=heard))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes)
    assert heard.notes
    assert heard.notes[0].startswith("Out of memory. Retrying with batch size")
    last = outcomes[-1]
    assert isinstance(last, GeneratedImage)
    assert last.record["fallbacks"][0] == "batch size 32"
    assert [outcome.request.seed for outcome in outcomes] == list(range(64))


@pytest.mark.usefixtures("little_memory")
def test_real_lack_of_memory_after_every_fallback(models: dict[str, Path]) -> None:
    request = Txt2Img(
        model=str(models["sd1"]), seed=1, steps=1, width=4096, height=4096, offload="none", vae_tiling=True, **WORDS
    )
    with pytest.raises(MemoryExhaustedError):
        generate(request)
    assert generate(request.replace(width=32, height=32))
