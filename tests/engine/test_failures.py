"""Test failures of real models: NaN, the safety filter, out-of-memory errors and lost GPUs."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

from artgen import Denoise, GeneratedImage, Txt2Img, generate, generate_all
from artgen.engine import batch_runner, memory_policy
from artgen.engine import generate as engine_generate
from artgen.engine.generate import FailedImage
from artgen.engine.loading import free_memory, pipeline_cache
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import is_device_lost
from artgen.engine.memory_settings import MemorySettings
from artgen.errors import (
    DeviceLostError,
    FilteredError,
    MemoryExhaustedError,
    ModelUnavailableError,
    NonFiniteError,
    WrongSizeError,
)
from artgen.jobs.job import Job
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.requests import TASKS

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "steps": 3, "guidance_scale": 5.0}


def four_requests(model: Path) -> list[Txt2Img]:
    """Return requests with four seeds."""
    return [Txt2Img(model=str(model), seed=seed, **SETTINGS) for seed in (7, 8, 9, 10)]


def modify_predictions(monkeypatch: pytest.MonkeyPatch, modify: Callable[[int, torch.Tensor], None]) -> None:
    """Call `modify(call, prediction)` for each prediction of the real UNet. Calls are counted from 1."""
    calls = [0]

    def forward(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        result = original(self, *args, **kwargs)
        modify(calls[0], result[0])
        return result

    plain.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)


def test_nan_stops_the_generation_at_its_step(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def modify(call: int, prediction: torch.Tensor) -> None:
        calls.append(call)
        if call == 2:
            prediction[:] = float("nan")

    modify_predictions(monkeypatch, modify)
    with pytest.raises(NonFiniteError, match="at step 2") as raised:
        generate(four_requests(models["sd1"])[0])
    assert raised.value.exit_code == 9
    assert calls == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_one_image_does_not_change_the_others_of_the_batch(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    expected = list(generate_all(four_requests(models["sd1"]), batch_size=4))

    def modify(call: int, prediction: torch.Tensor) -> None:
        if call == 2:
            prediction[1::4, 0, 0, 0] = value  # the second image, with and without the prompt

    modify_predictions(monkeypatch, modify)
    outcomes = list(generate_all(four_requests(models["sd1"]), batch_size=4))
    assert isinstance(outcomes[1], FailedImage)
    assert isinstance(outcomes[1].error, NonFiniteError)
    assert outcomes[1].request.seed == 8
    for i in (0, 2, 3):
        assert sample_images.same(image_of(outcomes[i]), image_of(expected[i]))


def test_failed_batch_does_not_stop_the_next_batch(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def modify(call: int, prediction: torch.Tensor) -> None:
        if call == 1:
            prediction[:] = float("nan")

    modify_predictions(monkeypatch, modify)
    outcomes = list(generate_all(four_requests(models["sd1"]), batch_size=2))
    assert [type(outcome) for outcome in outcomes] == [FailedImage, FailedImage, GeneratedImage, GeneratedImage]


def image_of(outcome: GeneratedImage | FailedImage) -> Image.Image:
    """Return the image of an outcome. Assert that it did not fail."""
    assert isinstance(outcome, GeneratedImage), outcome.error
    return outcome.image


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """Save a model whose decoder overflows in fp16 but not in fp32."""
    import tiny_models

    folder = tiny_models.sd1(tmp_path / "overflowing")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        # The intermediate values exceed the range of fp16; the norm layers reduce them again.
        vae.decoder.conv_in.weight.mul_(3e4)
        vae.decoder.conv_in.bias.mul_(3e4)
        vae.post_quant_conv.weight.mul_(10)
    vae.save_pretrained(folder / "vae")
    return folder


def test_overflowing_fp16_decoder_decodes_again_in_fp32(overflowing: Path) -> None:
    log = plain.EventLog()
    request = Txt2Img(model=str(overflowing), seed=7, dtype="fp16", device="cpu", **SETTINGS)
    generated = generate(request, listener=log)
    assert any("Decoding again in fp32" in note for note in log.notes)
    assert generated.record["fallbacks"] == ["decoder in fp32"]
    assert generated.record["dtype"] == "fp16"
    full = generate(request.replace(dtype="fp32"))
    assert "fallbacks" not in full.record
    assert sample_images.difference(generated.image, full.image) < 24  # the latents are fp16
    assert len(set(generated.image.tobytes())) > 10
    # The decoder is in fp16 again, so the next image overflows too.
    assert sample_images.same(generate(request).image, generated.image)


def test_nan_of_the_fp32_decoder_is_an_error(models: dict[str, Path], tmp_path: Path) -> None:
    import tiny_models

    folder = tiny_models.sd1(tmp_path / "broken")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        vae.decoder.conv_out.bias.fill_(float("nan"))
    vae.save_pretrained(folder / "vae")
    with pytest.raises(NonFiniteError, match="in the VAE decoder"):
        generate(Txt2Img(model=str(folder), seed=7, **SETTINGS))


@pytest.fixture(scope="module")
def filtered_model(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny model with a real safety checker that filters every image."""
    folder = tmp_path_factory.mktemp("filtered") / "sd1"
    sides = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = CLIPConfig(
        text_config={**sides, "vocab_size": 100, "projection_dim": 16, "bos_token_id": 98, "eos_token_id": 99},
        vision_config={**sides, "image_size": 16, "patch_size": 8, "projection_dim": 16},
        projection_dim=16,
    )
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        checker.concept_embeds.normal_()
        checker.special_care_embeds.normal_()
        checker.concept_embeds_weights.fill_(-2.0)  # below every cosine similarity
        checker.special_care_embeds_weights.fill_(2.0)
    with plain.quiet():
        pipe = StableDiffusionPipeline.from_pretrained(models["sd1"], safety_checker=None)
    pipe.register_modules(
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )
    pipe.register_to_config(requires_safety_checker=True)
    pipe.save_pretrained(folder)
    # transformers writes another class name without torchvision. Published models contain this name.
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_safety_filter_raises_its_error(filtered_model: Path) -> None:
    with pytest.raises(FilteredError, match="safety filter") as raised:
        generate(Txt2Img(model=str(filtered_model), seed=7, **SETTINGS))
    assert raised.value.exit_code == 8
    outcomes = list(generate_all(four_requests(filtered_model), batch_size=2))
    assert all(isinstance(outcome, FailedImage) and isinstance(outcome.error, FilteredError) for outcome in outcomes)


def test_disabled_safety_filter_does_not_change_the_image(filtered_model: Path, models: dict[str, Path]) -> None:
    generated = generate(Txt2Img(model=str(filtered_model), seed=7, safety_checker=False, **SETTINGS))
    assert sample_images.same(generated.image, generate(Txt2Img(model=str(models["sd1"]), seed=7, **SETTINGS)).image)
    assert np.asarray(generated.image).std() > 0


def test_a_filter_refuses_or_notes_images_that_the_safety_checker_flags(
    filtered_model: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = "safety_checker = true\n"
    Path("artgen.toml").write_text(f"[filters.refused]\n{table}[filters.noted]\n{table}action = 'note'\n")
    settings = {"model": str(filtered_model), "seed": 7, **SETTINGS}
    for name in ("refused", "strict", "noted,refused"):
        with pytest.raises(FilteredError, match="safety checker flagged it"):
            generate(Txt2Img(filter=(name,), **settings))
    log = plain.EventLog()
    noted = generate(Txt2Img(filter=("noted",), **settings), listener=log)
    assert sample_images.same(noted.image, generate(Txt2Img(**{**settings, "model": str(models["sd1"])})).image)
    assert noted.record["filter_results"] == ["noted safety_checker: noted"]
    assert "Filter 'noted': the model's safety checker flagged it." in log.notes
    with pytest.raises(FilteredError, match="safety filter"):  # the cached pipeline is unchanged
        generate(Txt2Img(**settings))


def test_safety_filter_checks_the_image_decoded_in_fp32(filtered_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(original: Callable[..., Any], self: Any, z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(self, z, *args, **kwargs)
        if z.dtype != torch.float32:
            result[0].fill_(float("nan"))
        return result

    def ignore_nan(original: Callable[..., Any], self: Any, clip_input: Any, images: Any) -> Any:
        if not bool(torch.isfinite(torch.as_tensor(images)).all()):
            return images, [False] * len(images)
        return original(self, clip_input, images)

    plain.wrap_method(monkeypatch, AutoencoderKL, "decode", decode)
    plain.wrap_method(monkeypatch, StableDiffusionSafetyChecker, "forward", ignore_nan)
    log = plain.EventLog()
    with pytest.raises(FilteredError):
        generate(Txt2Img(model=str(filtered_model), seed=7, dtype="bf16", device="cpu", **SETTINGS), listener=log)
    assert any("Decoding again" in note for note in log.notes)


def limit_memory(monkeypatch: pytest.MonkeyPatch, max_images: int = 99, requires_tiling: bool = False) -> None:
    """Raise out-of-memory errors above `max_images` per call, or until the decoder works in tiles."""

    def forward(original: Callable[..., Any], self: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if sample.shape[0] > 2 * max_images:  # guidance doubles the batch
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, sample, *args, **kwargs)

    def decode(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        if requires_tiling and not self.use_tiling:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return original(self, *args, **kwargs)

    plain.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)
    plain.wrap_method(monkeypatch, AutoencoderKL, "decode", decode)


def test_out_of_memory_halves_the_batch_size(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    single = [generate(request).image for request in four_requests(models["sd1"])]
    limit_memory(monkeypatch, max_images=1)
    log = plain.EventLog()
    outcomes = list(generate_all(four_requests(models["sd1"]), batch_size=4, listener=log))
    assert log.notes == [
        "Out of memory. Retrying with batch size 2.",
        "Out of memory. Retrying with batch size 1.",
    ]
    assert all(sample_images.same(image_of(a), b) for a, b in zip(outcomes, single, strict=True))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["fallbacks"] == ["batch size 2", "batch size 1"]
        assert outcome.record["batch_size"] == 1


def test_vae_tiling_follows_batch_size_one(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    single = [generate(request).image for request in four_requests(models["sd1"])[:2]]
    with monkeypatch.context() as patches:
        limit_memory(patches, requires_tiling=True)
        log = plain.EventLog()
        outcomes = list(generate_all(four_requests(models["sd1"])[:2], batch_size=2, listener=log))
    assert [note.rpartition("with ")[2] for note in log.notes] == ["batch size 1.", "vae tiling."]
    assert all(sample_images.same(image_of(a), b) for a, b in zip(outcomes, single, strict=True))
    assert isinstance(outcomes[0], GeneratedImage)
    assert outcomes[0].record["fallbacks"] == ["batch size 1", "vae tiling"]
    assert outcomes[0].request.vae_tiling is False, "the record contains the requested value"
    # The fallbacks do not apply to the next call.
    assert "fallbacks" not in generate(four_requests(models["sd1"])[0]).record


def test_out_of_memory_after_every_fallback_is_an_error(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, max_images=0)
    with pytest.raises(
        MemoryExhaustedError, match="32x32 on cpu: out of memory after batch size 1, vae tiling"
    ) as raised:
        list(generate_all(four_requests(models["sd1"])[:2], batch_size=2))
    assert raised.value.exit_code == 6
    assert raised.value.hint


def test_other_errors_are_not_treated_as_out_of_memory(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    plain.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)
    with pytest.raises(ModelUnavailableError, match="mat1"):
        generate(four_requests(models["sd1"])[0])


def test_record_is_valid_json(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, max_images=1)
    for outcome in generate_all(four_requests(models["sd1"])[:2], batch_size=2):
        assert isinstance(outcome, GeneratedImage)
        assert json.loads(json.dumps(outcome.record, allow_nan=False)) == outcome.record


DEVICE_LOST_MESSAGE = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCompile with TORCH_USE_CUDA_DSA"


def test_gpu_lost_during_loading_is_an_error(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(DEVICE_LOST_MESSAGE)

    pipeline_cache.clear_cache()
    monkeypatch.setattr(offloading, "apply_offload", fail)
    with pytest.raises(DeviceLostError, match=r"lost for this process: CUDA error: .* unavailable") as raised:
        generate(four_requests(models["sd1"])[0])
    assert raised.value.exit_code == 71


@pytest.mark.parametrize("usable", [True, False])
def test_usable_device_is_not_lost(monkeypatch: pytest.MonkeyPatch, usable: bool) -> None:
    def synchronize(_: int) -> None:
        if not usable:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name, value in (("device_count", 1), ("memory_reserved", 9), ("is_initialized", True)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert (
        is_device_lost(RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasGemmEx")) is not usable
    )
    assert not is_device_lost(RuntimeError("CUDA error: out of memory"))
    assert not is_device_lost(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("first", [True, False])
def test_out_of_memory_works_next_to_another_task(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    noisy = Denoise(image=sample_images.photo(Path("noisy.png")), method="tv", sigma="25")
    limit_memory(monkeypatch, requires_tiling=True)
    requests = [noisy, four_requests(models["sd1"])[0]]
    outcomes = list(generate_all(requests if first else requests[::-1]))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes)


def test_memory_is_planned_again_for_larger_images(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    planned_jobs: list[tuple[int, float | None]] = []
    plan_memory = memory_policy.plan_memory

    def record_plan(settings: MemorySettings, job: Job, *args: Any) -> MemorySettings:
        planned_jobs.append((job.width, job.request.guidance_scale))
        return plan_memory(settings, job, *args)

    monkeypatch.setattr(memory_policy, "plan_memory", record_plan)
    one = four_requests(models["sd1"])[0].replace(steps=1, guidance_scale=1.0)
    wide, guided = one.replace(width=64), one.replace(width=64, guidance_scale=5.0)
    list(generate_all([one, wide, one, guided, wide, guided]))
    assert planned_jobs == [(32, 1.0), (64, 1.0), (64, 5.0)]


def test_oom_history_does_not_apply_to_requests_with_another_excluded_mode(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--fast cache` skips layers, but group offloading prefetches the next layer."""
    tried: list[tuple[str | None, str | None]] = []

    def run_out_of_memory(jobs: list[Job], _: int, __: Any, settings: MemorySettings, *___: Any) -> list[FailedImage]:
        tried.append((jobs[0].request.fast, settings.offload))
        if settings.offload not in ("group", "sequential"):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [FailedImage(job.request, NonFiniteError("test")) for job in jobs]

    monkeypatch.setattr(batch_runner, "resolve_device", lambda *_, **__: DeviceConfig("cuda", "fp16"))
    monkeypatch.setattr(batch_runner, "memory_limit", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(free_memory, "available_bytes", lambda *_: 100 << 30)
    monkeypatch.setattr(batch_runner, "run_passes", run_out_of_memory)
    exact = four_requests(models["sd1"])[0].replace(steps=30, offload="auto")
    context = batch_runner.GenerationContext()
    for request in (exact, exact.replace(fast="cache"), exact):
        list(engine_generate.generate_jobs(prepare_jobs([request]), context=context))
    assert [offload for fast, offload in tried if not fast][-2:] == ["group", "group"], (
        "the second call uses the history"
    )
    assert ("cache", "group") not in tried
    assert tried[-2] == ("cache", "sequential")


@pytest.mark.parametrize("scale", [2, 0.5])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_an_image_of_another_size_is_not_saved(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, task: str, scale: float
) -> None:
    def decode(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        return [torch.nn.functional.interpolate(image, scale_factor=scale) for image in original(self, *args, **kwargs)]

    plain.wrap_method(monkeypatch, AutoencoderKL, "decode", decode)
    inputs: dict[str, Any] = {} if task == "txt2img" else {"image": sample_images.photo(Path("in.png"), 36, 28)}
    inputs |= {"mask": sample_images.mask(Path("mask.png"), 36, 28)} if task == "inpaint" else {}
    inputs |= {"expand": "8"} if task == "outpaint" else {}
    request = TASKS[task].request_class(model=str(models["sd1"]), seed=7, steps=2, prompt="x", **inputs)
    with pytest.raises(WrongSizeError, match="instead of"):
        generate(request)


def test_a_denoised_image_or_a_frame_of_another_size_is_an_error(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = sample_images.photo(Path("noisy.png"), 32, 24)
    (job,) = prepare_jobs([Denoise(image=noisy, method="tv")])
    good = generate(job.request)
    wrong = Image.new("RGB", (32, 25))
    for changes in ({"image": wrong}, {"frames": (wrong, good.image)}, {"low_bytes": wrong}):
        bad = dataclasses.replace(good, **changes)
        monkeypatch.setattr(engine_generate, "_denoise_job", lambda *_, bad=bad: bad)
        (outcome,) = engine_generate.generate_jobs([job])
        assert isinstance(outcome, FailedImage)
        assert isinstance(outcome.error, WrongSizeError)
        assert "32x25 pixels instead of 32x24" in outcome.error.message
