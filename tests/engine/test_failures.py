"""NaN, the safety filter and running out of memory: real models that misbehave, and what becomes of the pictures."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain_scripts as plain
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

from artgen import Denoise, GeneratedImage, Txt2Img, generate, generate_all
from artgen.engine import generate as generating
from artgen.engine import memory_policy
from artgen.engine.generate import FailedImage
from artgen.engine.loading import offload as offloading
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import is_device_lost
from artgen.engine.memory_policy import MemorySettings
from artgen.errors import DeviceLostError, FilteredError, MemoryExhaustedError, NonFiniteError
from artgen.jobs.prepare import Job, prepare_jobs

WORDS: dict[str, Any] = {"prompt": "a red fox", "steps": 3, "guidance_scale": 5.0}


def four(model: Path) -> list[Txt2Img]:
    return [Txt2Img(model=str(model), seed=seed, **WORDS) for seed in (7, 8, 9, 10)]


def spoil(monkeypatch: pytest.MonkeyPatch, spoils: Callable[[int, torch.Tensor], None]) -> None:
    """Lets `spoils(call, prediction)` write into what the real UNet predicts; calls count from 1."""
    calls = [0]

    def forward(original: Callable[..., Any], self: Any, *arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        result = original(self, *arguments, **more)
        spoils(calls[0], result[0])
        return result

    plain.around(monkeypatch, UNet2DConditionModel, "forward", forward)


def test_nan_at_a_step_stops_there_and_says_so(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spoils(call: int, prediction: torch.Tensor) -> None:
        calls.append(call)
        if call == 2:
            prediction[:] = float("nan")

    spoil(monkeypatch, spoils)
    with pytest.raises(NonFiniteError, match="at step 2") as raised:
        generate(four(models["sd1"])[0])
    assert raised.value.exit_code == 9
    assert calls == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_lost_in_a_batch_does_not_take_the_others_along(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    expected = list(generate_all(four(models["sd1"]), batch_size=4))

    def spoils(call: int, prediction: torch.Tensor) -> None:
        if call == 2:
            prediction[1::4, 0, 0, 0] = value  # the second picture, in both halves of guidance

    spoil(monkeypatch, spoils)
    outcomes = list(generate_all(four(models["sd1"]), batch_size=4))
    assert isinstance(outcomes[1], FailedImage)
    assert isinstance(outcomes[1].error, NonFiniteError)
    assert outcomes[1].request.seed == 8
    for i in (0, 2, 3):
        assert plain.same(image_of(outcomes[i]), image_of(expected[i]))


def test_a_batch_lost_whole_does_not_stop_the_next(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def spoils(call: int, prediction: torch.Tensor) -> None:
        if call == 1:
            prediction[:] = float("nan")

    spoil(monkeypatch, spoils)
    outcomes = list(generate_all(four(models["sd1"]), batch_size=2))
    assert [type(outcome) for outcome in outcomes] == [FailedImage, FailedImage, GeneratedImage, GeneratedImage]


def image_of(outcome: GeneratedImage | FailedImage) -> Image.Image:
    assert isinstance(outcome, GeneratedImage), outcome.error
    return outcome.image


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """A real model whose decoder overflows in fp16 and is sound in fp32."""
    import tiny_models

    folder = tiny_models.sd1(tmp_path / "overflowing")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        # Large and small again: the result is ordinary, the values between do not fit into fp16.
        vae.decoder.conv_in.weight.mul_(3e4)
        vae.decoder.conv_in.bias.mul_(3e4)
        vae.post_quant_conv.weight.mul_(10)
    vae.save_pretrained(folder / "vae")
    return folder


def test_a_decoder_that_overflows_in_fp16_decodes_again_in_fp32(overflowing: Path) -> None:
    heard = plain.Heard()
    request = Txt2Img(model=str(overflowing), seed=7, dtype="fp16", device="cpu", **WORDS)
    picture = generate(request, listener=heard)
    assert any("decoding again in fp32" in note for note in heard.notes)
    assert picture.record["fallbacks"] == ["decoder in fp32"]
    assert picture.record["dtype"] == "fp16"
    full = generate(request.replace(dtype="fp32"))
    assert "fallbacks" not in full.record
    assert plain.difference(picture.image, full.image) < 24  # fp16 latents, fp32 decoder
    assert len(set(picture.image.tobytes())) > 10
    # The decoder is put back: the next picture needs, and gets, the same treatment.
    assert plain.same(generate(request).image, picture.image)


def test_a_decoder_that_is_broken_in_fp32_too_is_an_error(models: dict[str, Path], tmp_path: Path) -> None:
    import tiny_models

    folder = tiny_models.sd1(tmp_path / "broken")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        vae.decoder.conv_out.bias.fill_(float("nan"))
    vae.save_pretrained(folder / "vae")
    with pytest.raises(NonFiniteError, match="in the decoder"):
        generate(Txt2Img(model=str(folder), seed=7, **WORDS))


@pytest.fixture(scope="module")
def guarded(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a real safety checker that finds fault with everything."""
    folder = tmp_path_factory.mktemp("guarded") / "sd1"
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
        checker.concept_embeds_weights.fill_(-2.0)  # a cosine is always above this
        checker.special_care_embeds_weights.fill_(2.0)
    with plain.quiet():
        pipe = StableDiffusionPipeline.from_pretrained(models["sd1"], safety_checker=None)
    pipe.register_modules(
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )
    pipe.register_to_config(requires_safety_checker=True)
    pipe.save_pretrained(folder)
    # transformers writes the name of its torchvision-free class; published models carry this one.
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_the_safety_filter_withholds_with_its_own_error(guarded: Path) -> None:
    with pytest.raises(FilteredError, match="safety filter") as raised:
        generate(Txt2Img(model=str(guarded), seed=7, **WORDS))
    assert raised.value.exit_code == 8
    outcomes = list(generate_all(four(guarded), batch_size=2))
    assert all(isinstance(outcome, FailedImage) and isinstance(outcome.error, FilteredError) for outcome in outcomes)


def test_without_the_safety_filter_the_picture_is_drawn(guarded: Path, models: dict[str, Path]) -> None:
    made = generate(Txt2Img(model=str(guarded), seed=7, safety_checker=False, **WORDS))
    assert plain.same(made.image, generate(Txt2Img(model=str(models["sd1"]), seed=7, **WORDS)).image)
    assert np.asarray(made.image).std() > 0


def test_the_filter_sees_what_was_decoded_again(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(original: Callable[..., Any], self: Any, z: torch.Tensor, *arguments: Any, **more: Any) -> Any:
        result = original(self, z, *arguments, **more)
        if z.dtype != torch.float32:
            result[0].fill_(float("nan"))
        return result

    def blind_to_nan(original: Callable[..., Any], self: Any, clip_input: Any, images: Any) -> Any:
        if not bool(torch.isfinite(torch.as_tensor(images)).all()):
            return images, [False] * len(images)
        return original(self, clip_input, images)

    plain.around(monkeypatch, AutoencoderKL, "decode", decode)
    plain.around(monkeypatch, StableDiffusionSafetyChecker, "forward", blind_to_nan)
    heard = plain.Heard()
    with pytest.raises(FilteredError):
        generate(Txt2Img(model=str(guarded), seed=7, dtype="bf16", device="cpu", **WORDS), listener=heard)
    assert any("decoding again" in note for note in heard.notes)


def exhausted_by(monkeypatch: pytest.MonkeyPatch, pictures: int = 99, untiled: bool = False) -> None:
    """Real modules that run out of memory above so many pictures, or until the decoder works in tiles."""

    def forward(original: Callable[..., Any], self: Any, sample: torch.Tensor, *arguments: Any, **more: Any) -> Any:
        if sample.shape[0] > 2 * pictures:  # guidance doubles the batch
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, sample, *arguments, **more)

    def decode(original: Callable[..., Any], self: Any, *arguments: Any, **more: Any) -> Any:
        if untiled and not self.use_tiling:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return original(self, *arguments, **more)

    plain.around(monkeypatch, UNet2DConditionModel, "forward", forward)
    plain.around(monkeypatch, AutoencoderKL, "decode", decode)


def test_out_of_memory_halves_the_batch(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    single = [generate(request).image for request in four(models["sd1"])]
    exhausted_by(monkeypatch, pictures=1)
    heard = plain.Heard()
    outcomes = list(generate_all(four(models["sd1"]), batch_size=4, listener=heard))
    assert heard.notes == [
        "out of memory; trying again with batch size 2",
        "out of memory; trying again with batch size 1",
    ]
    assert all(plain.same(image_of(a), b) for a, b in zip(outcomes, single, strict=True))
    for outcome in outcomes:
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["fallbacks"] == ["batch size 2", "batch size 1"]
        assert outcome.record["batch_size"] == 1


def test_then_the_decoder_works_in_tiles(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    single = [generate(request).image for request in four(models["sd1"])[:2]]
    with monkeypatch.context() as patched:
        exhausted_by(patched, untiled=True)
        heard = plain.Heard()
        outcomes = list(generate_all(four(models["sd1"])[:2], batch_size=2, listener=heard))
    assert [note.rpartition("with ")[2] for note in heard.notes] == ["batch size 1", "vae tiling"]
    assert all(plain.same(image_of(a), b) for a, b in zip(outcomes, single, strict=True))
    assert isinstance(outcomes[0], GeneratedImage)
    assert outcomes[0].record["fallbacks"] == ["batch size 1", "vae tiling"]
    assert outcomes[0].request.vae_tiling is False, "what was asked for is recorded as it was asked"
    # The next request, which asks for none of it, gets none of it.
    assert "fallbacks" not in generate(four(models["sd1"])[0]).record


def test_out_of_memory_after_every_fallback(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    exhausted_by(monkeypatch, pictures=0)
    with pytest.raises(MemoryExhaustedError, match="32x32, after batch size 1, vae tiling") as raised:
        list(generate_all(four(models["sd1"])[:2], batch_size=2))
    assert raised.value.exit_code == 6
    assert raised.value.hint


def test_another_error_is_not_taken_for_lack_of_memory(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(original: Callable[..., Any], self: Any, *arguments: Any, **more: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    plain.around(monkeypatch, UNet2DConditionModel, "forward", forward)
    with pytest.raises(RuntimeError, match="mat1"):
        generate(four(models["sd1"])[0])


def test_the_record_is_plain_json(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    exhausted_by(monkeypatch, pictures=1)
    for outcome in generate_all(four(models["sd1"])[:2], batch_size=2):
        assert isinstance(outcome, GeneratedImage)
        assert json.loads(json.dumps(outcome.record, allow_nan=False)) == outcome.record


BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCompile with TORCH_USE_CUDA_DSA"


def test_a_gpu_that_answers_no_more_is_told_while_loading_too(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: Any) -> None:
        raise RuntimeError(BUSY)

    pipeline_cache.clear_cache()
    monkeypatch.setattr(offloading, "apply_offload", dead)
    with pytest.raises(DeviceLostError, match=r"stopped working for this process: CUDA error: .* unavailable$") as told:
        generate(four(models["sd1"])[0])
    assert told.value.exit_code == 71


@pytest.mark.parametrize("answers", [True, False])
def test_a_device_that_still_answers_is_not_lost(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    def synchronize(_: int) -> None:
        if not answers:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name, value in (("device_count", 1), ("memory_reserved", 9), ("is_initialized", True)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert (
        is_device_lost(RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasGemmEx")) is not answers
    )
    assert not is_device_lost(RuntimeError("CUDA error: out of memory"))
    assert not is_device_lost(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("first", [True, False])
def test_memory_runs_out_next_to_another_task(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    noisy = Denoise(image=plain.photo(Path("noisy.png")), method="tv", sigma="25")
    exhausted_by(monkeypatch, untiled=True)
    requests = [noisy, four(models["sd1"])[0]]
    made = list(generate_all(requests if first else requests[::-1]))
    assert all(isinstance(each, GeneratedImage) for each in made)


def test_memory_is_planned_anew_for_what_takes_more(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, float | None]] = []
    plan = memory_policy.plan_memory

    def planned(economy: MemorySettings, job: Job, *arguments: Any) -> MemorySettings:
        found.append((job.width, job.prompt_request.guidance_scale))
        return plan(economy, job, *arguments)

    monkeypatch.setattr(memory_policy, "plan_memory", planned)
    one = four(models["sd1"])[0].replace(steps=1, guidance_scale=1.0)
    wide, guided = one.replace(width=64), one.replace(width=64, guidance_scale=5.0)
    list(generate_all([one, wide, one, guided, wide, guided]))
    assert found == [(32, 1.0), (64, 1.0), (64, 5.0)]


def test_what_memory_taught_is_not_for_requests_that_must_not_offload_so(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--fast cache` skips layers, which must not fetch each other."""
    tried: list[tuple[str | None, str | None]] = []

    def short(jobs: list[Job], _: int, __: Any, economy: MemorySettings, *___: Any) -> list[FailedImage]:
        tried.append((jobs[0].prompt_request.fast, economy.offload))
        if economy.offload not in ("group", "sequential"):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [FailedImage(job.request, NonFiniteError("as if")) for job in jobs]

    monkeypatch.setattr(generating, "resolve_device", lambda *_: DeviceConfig("cuda", "fp16"))
    monkeypatch.setattr(generating, "memory_limit", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(memory_policy, "available_bytes", lambda *_: 100 << 30)
    monkeypatch.setattr(generating, "run_pipeline", short)
    exact = four(models["sd1"])[0].replace(steps=30, offload="auto")
    course = generating.GenerationContext()
    for request in (exact, exact.replace(fast="cache"), exact):
        list(generating.generate_jobs(prepare_jobs([request]), context=course))
    assert [offload for fast, offload in tried if not fast][-2:] == ["group", "group"], "known the second time"
    assert ("cache", "group") not in tried
    assert tried[-2] == ("cache", "sequential")
