"""CUDA's levers, as far as a processor can tell: which are chosen, and that none leaves a trace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import batches
import plain_scripts as plain
import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn

from artgen import Denoise, Txt2Img, generate, generate_all, registry
from artgen.engine.acceleration import decoders, policy
from artgen.engine.acceleration.apply import optimized
from artgen.engine.acceleration.cuda_graphs import CaptureFn, GraphedModule, Tensors, drop_graphs, with_cuda_graph
from artgen.engine.acceleration.policy import (
    COMPILE_SECONDS,
    COMPILE_SPEEDUP,
    OptimizationContext,
    OptimizationPlan,
    select_optimizations,
)
from artgen.engine.loading import offload as offloading
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import MemoryPolicy, MemorySettings
from artgen.engine.sampling import pipeline_call
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.events import Notice, no_op
from artgen.jobs.prepare import prepare_jobs

ALONE = OptimizationContext("exact", "cuda", "fp16", "sd1", (512, 512), 1, 30, on_device=True, unmodified=True)


class Again:
    """In the place of a CUDA graph: does the work again on the tensors that were there when it was recorded."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, work: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        self.recorded += 1
        outputs = work()

        def again() -> None:
            for place, tensor in zip(outputs, work(), strict=True):
                place.copy_(tensor)

        return outputs, again


@pytest.mark.parametrize(
    ("changes", "graph"),
    [
        ({}, True),
        ({"architecture": "sd2", "size": (768, 768), "device": "cuda:1"}, True),
        ({"level": "none"}, False),
        ({"device": "cpu"}, False),
        ({"device": "mps"}, False),
        ({"architecture": "sdxl", "size": (768, 768)}, True),
        ({"architecture": "sdxl", "size": (1024, 1024)}, False),
        ({"architecture": "sd3"}, False),
        ({"size": (1024, 1024)}, False),
        ({"together": 2}, True),
        ({"together": 4}, False),
        ({"steps": 4}, False),
        ({"plain": False}, False),
    ],
)
def test_graphs_are_for_few_pixels_at_a_time(changes: dict[str, Any], graph: bool) -> None:
    chosen = select_optimizations(replace(ALONE, **changes))
    assert chosen.cuda_graph is graph
    assert chosen.inexact_optimizations == [], "what is not asked for changes no bit"
    assert bool(chosen.reason) == (replace(ALONE, **changes).device.startswith("cuda") and changes != {"level": "none"})


@pytest.mark.parametrize(
    ("changes", "rounding"),
    [
        ({}, ["channels last", "fused projections"]),
        ({"architecture": "sdxl", "upcast": True}, ["channels last", "fused projections", "decoder in bf16"]),
        ({"architecture": "sdxl"}, ["channels last", "fused projections"]),
        ({"architecture": "sd3"}, []),
        ({"plain": False}, ["channels last"]),
        ({"plain": False, "whole": False}, []),
        ({"device": "cpu"}, []),
        ({"seconds_left": COMPILE_SECONDS / COMPILE_SPEEDUP + 1}, ["channels last", "compiled"]),
        ({"seconds_left": COMPILE_SECONDS / COMPILE_SPEEDUP - 1}, ["channels last", "fused projections"]),
        ({"seconds_left": 1e6, "plain": False}, ["channels last"]),
        ({"compiled": True}, ["channels last", "compiled"]),
    ],
)
def test_what_rounds_otherwise_is_asked_for_and_named(changes: dict[str, Any], rounding: list[str]) -> None:
    assert select_optimizations(replace(ALONE, level="full", **changes)).inexact_optimizations == rounding


def test_a_compiled_denoiser_has_no_graph() -> None:
    assert not select_optimizations(replace(ALONE, level="full", remaining_seconds=1e6)).cuda_graph


def test_a_batch_tells_what_is_left(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def listen(original: Any, self: Any, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        told.append(self.seconds_left)

    plain.around(monkeypatch, ProgressReporter, "__init__", listen)
    batches.draw(batches.plan(tmp_path, models["sd1"], batches.entries(6)), batch_size="2")
    assert told[0] == 0, "nothing was measured yet"
    assert told[1] > 0
    assert told[-1] == 0, "nothing is left"
    told.clear()
    requests = [Txt2Img(model=str(models["sd1"]), prompt="a fox", steps=2, seed=seed) for seed in range(4)]
    list(generate_all(requests))
    assert told[:2] == [0, 0], "the first picture waits for the model"
    assert min(told[2:]) > 0


class Denoiser(nn.Module):
    """Takes what a UNet takes, nested likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, sample: torch.Tensor, step: torch.Tensor, *, words: Any, more: Any = None) -> Any:
        self.calls += 1
        if words == "an object":
            return sample
        return (self.weight * sample + step + more["added"]["text"],)


def call(module: nn.Module, value: float, step: float = 1.0, rows: int = 2, **more: Any) -> Any:
    text = {"text": torch.full((rows, 3), 10 * value)}
    with torch.no_grad():
        return module(torch.full((rows, 3), value), torch.tensor(step), words=None, more={"added": text}, **more)


def test_a_recording_reads_what_comes_in_now_and_gives_what_stays() -> None:
    module, recorder = Denoiser(), Again()
    with with_cuda_graph(module, recorder):
        answers = [call(module, float(value), float(value + 1))[0] for value in range(6)]
    assert recorder.recorded == 1
    assert [answer[0, 0].item() for answer in answers] == [12.0 * v + v + 1 for v in range(6)]
    assert "forward" not in module.__dict__
    before = module.calls
    with with_cuda_graph(module, recorder):
        assert call(module, 7.0)[0][0, 0].item() == 85.0
    assert (recorder.recorded, module.calls) == (1, before + 1), "the recording is kept for the next picture"


def test_every_shape_and_every_setting_is_recorded_by_itself() -> None:
    module, recorder = Denoiser(), Again()
    with with_cuda_graph(module, recorder):
        for rows in (1, 2, 1, 2, 1, 2):
            assert call(module, 1.0, rows=rows)[0].shape == (rows, 3)
    assert recorder.recorded == 2


def test_few_recordings_are_kept() -> None:
    module, recorder = Denoiser(), Again()
    with with_cuda_graph(module, recorder):
        for _ in range(2):
            for rows in range(1, 8):
                call(module, 1.0, rows=rows)
        assert recorder.recorded == 7
        assert len(module.__dict__["_artgen_graphed"]._recorded) == 4
        assert call(module, 3.0, rows=1)[0][0, 0].item() == 37.0


def test_what_changes_is_recorded_anew() -> None:
    module, recorder = Denoiser(), Again()
    with with_cuda_graph(module, recorder):
        for _ in range(3):
            call(module, 1.0)
    module.weight = nn.Parameter(torch.tensor(3.0))
    drop_graphs(module)
    with with_cuda_graph(module, recorder):
        assert [call(module, 1.0)[0][0, 0].item() for _ in range(3)] == [14.0] * 3
    assert recorder.recorded == 2


def test_what_cannot_be_recorded_runs_as_before() -> None:
    class Refusing:
        def record(self, work: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
            raise RuntimeError("operation not permitted when stream is capturing")

    class Lying:
        """A recording that does not read its inputs again."""

        def record(self, work: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
            return tuple(torch.zeros_like(tensor) for tensor in work()), lambda: None

    class Empty:
        """A recording that does nothing, and whose outputs are those of the call that was recorded."""

        def record(self, work: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
            return work(), lambda: None

    for recorder in (Refusing(), Lying(), Empty()):
        module = Denoiser()
        with with_cuda_graph(module, recorder):
            assert [call(module, float(value))[0][0, 0].item() for value in range(4)] == [1.0, 13.0, 25.0, 37.0]


def test_arguments_that_are_no_tensors_or_numbers_and_gradients_are_left_alone() -> None:
    module, recorder = Denoiser(), Again()
    wrapped = GraphedModule(module.forward, recorder)
    for _ in range(3):
        with torch.no_grad():
            wrapped(torch.ones(1), torch.ones(1), words=object(), more={"added": {"text": torch.ones(1)}})
            assert isinstance(wrapped(torch.ones(1), torch.ones(1), words="an object"), torch.Tensor)
        wrapped(torch.ones(1), torch.ones(1), words=None, more={"added": {"text": torch.ones(1)}})[0].backward()
    assert recorder.recorded == 0


def loaded(folder: Path) -> Any:
    with plain.quiet():
        pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: Any, seed: int = 7, prompt: str = "a red fox") -> Any:
    words = {"num_inference_steps": 5, "guidance_scale": 5.0, "generator": torch.Generator().manual_seed(seed)}
    return pipe(prompt, **words).images[0]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_recorded_step_draws_the_same_picture_byte_for_byte(models: dict[str, Path], kind: str) -> None:
    pipe, recorder = loaded(models[kind]), Again()
    wanted = [draw(pipe), draw(pipe, 8, "a blue house")]
    with optimized(pipe, OptimizationPlan(cuda_graph=True), recorder):
        assert plain.same(draw(pipe), wanted[0])
        assert plain.same(draw(pipe, 8, "a blue house"), wanted[1])
        assert plain.same(draw(pipe), wanted[0])
    assert recorder.recorded == 1
    assert plain.same(draw(pipe), wanted[0])


@pytest.mark.parametrize("lever", [{"channels_last": True}, {"fused": True}, {"fused": True, "channels_last": True}])
def test_other_rounding_stays_within_a_grey_level_and_is_undone(
    models: dict[str, Path], lever: dict[str, bool]
) -> None:
    pipe = loaded(models["sd1"])
    wanted = draw(pipe)
    for _ in range(2):
        with optimized(pipe, OptimizationPlan(**lever)):
            assert plain.difference(draw(pipe), wanted) <= 1
    with optimized(pipe, OptimizationPlan()):
        assert plain.same(draw(pipe), wanted)


def test_what_calls_the_parts_of_a_kept_pipeline_finds_them_as_they_were_loaded(models: dict[str, Path]) -> None:
    noisy = plain.photo(Path("noisy.png"))
    request = Denoise(image=noisy, method="latent", model=str(models["sd1"]), sigma="25", steps=2, device="cpu")
    wanted = generate(request).image
    ((pipe),) = pipeline_cache._cache.values()
    with optimized(pipe, OptimizationPlan(channels_last=True, fused_qkv=True)):
        pass
    assert not pipe.unet.conv_in.weight.is_contiguous()
    assert plain.same(generate(request).image, wanted)
    assert pipe.unet.conv_in.weight.is_contiguous()


def test_a_decoder_in_bf16_decodes_nearly_the_same_and_leaves_the_weights_alone(models: dict[str, Path]) -> None:
    pipe = loaded(models["sdxl"])
    wanted, decoded = draw(pipe), []
    plan = OptimizationPlan(bf16_decoder=True)
    with optimized(pipe, plan):
        decoded.append(draw(pipe))
    assert not plain.same(decoded[0], wanted)
    assert plain.difference(decoded[0], wanted) <= 4
    assert plain.same(draw(pipe), wanted)


def test_a_decoder_in_bf16_decodes_in_pieces_when_the_pipelines_own_does(models: dict[str, Path]) -> None:
    pipe, seen = loaded(models["sdxl"]), []
    for on in (False, True, False):
        offloading.set_vae_tiling(pipe, on)
        with optimized(pipe, OptimizationPlan(bf16_decoder=True)):
            draw(pipe)
        (own,) = (kept for vae, kept in decoders._bf16_decoders.items() if vae is pipe.vae)
        seen.append((own.use_tiling, own.use_slicing, own.tile_sample_min_size))
    assert seen[1] == (True, True, registry.VAE_TILE_PX)
    assert [each[:2] for each in seen[::2]] == [(False, False)] * 2


@pytest.mark.parametrize(
    ("kind", "dtype", "safe", "said"),
    [
        ("sdxl", "fp16", False, True),
        ("sdxl", "fp16", True, False),
        ("sdxl", "fp32", False, False),
        ("sd1", "fp16", False, False),
    ],
)
def test_a_decoder_is_in_bf16_where_diffusers_would_take_fp32(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str, dtype: str, safe: bool, said: bool
) -> None:
    asked: list[OptimizationContext] = []
    monkeypatch.setattr(policy, "select_optimizations", lambda task: asked.append(task) or OptimizationPlan())
    pipe = loaded(models[kind])
    pipe.vae.register_to_config(force_upcast=not safe)
    (job,) = prepare_jobs([Txt2Img(model=str(models[kind]), prompt="a fox", seed=1, quantize="fp8")])
    economy = MemorySettings.from_request(job.prompt_request, 1)
    pipeline_call.plan_optimizations(
        pipe, [job], DeviceConfig("cuda", dtype, "fp8"), economy, ProgressReporter(no_op, 1, 1, 1)
    )
    (task,) = asked
    assert task.vae_upcast is said
    assert (task.on_device, task.unmodified) == (True, False), (
        "a recording would read weights that are widened anew for each call"
    )


def test_without_graphs_once_memory_ran_out_with_one(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = loaded(models["sd1"])
    (job,) = prepare_jobs([Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, width=64, height=64, steps=30)])
    economy = MemorySettings.from_request(job.prompt_request, 1)
    monkeypatch.setitem(pipeline_cache._cache, ("this",), pipe)
    with optimized(pipe, OptimizationPlan(cuda_graph=True), Again()):
        for _ in range(2):
            draw(pipe)
    shapes = job, DeviceConfig("cuda", "fp16"), ProgressReporter(no_op, 1, 1, 1)
    assert pipeline_call.plan_optimizations(pipe, [shapes[0]], shapes[1], economy, shapes[2]).cuda_graph
    heard = plain.Heard()
    memory_policy = MemoryPolicy({}, heard)
    assert memory_policy.settings_for(job, 1, shapes[1]) == MemorySettings.from_request(job.prompt_request, 256)
    memory_policy.degrade(shapes[1], job, 1)
    tighter = memory_policy.settings_for(job, 1, shapes[1])
    assert heard.events == [Notice("Out of memory. Retrying without CUDA graphs.")]
    assert tighter.fallbacks == (), "no bit depends on it"
    assert "_artgen_graphed" not in pipe.unet.__dict__
    assert not pipeline_call.plan_optimizations(pipe, [shapes[0]], shapes[1], tighter, shapes[2]).cuda_graph
    memory_policy.degrade(shapes[1], job, 1)
    assert memory_policy.settings_for(job, 1, shapes[1]).fallbacks == ("vae tiling",)


@pytest.mark.slow
def test_compiled_blocks_draw_nearly_the_same_and_are_undone(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    pipe = loaded(models["sd1"])
    wanted = draw(pipe)
    with optimized(pipe, OptimizationPlan(compiled=True)):
        assert plain.difference(draw(pipe), wanted) <= 1
    assert any((tmp_path / "inductor").rglob("*.so"))
    with optimized(pipe, OptimizationPlan()):
        assert plain.same(draw(pipe), wanted)
