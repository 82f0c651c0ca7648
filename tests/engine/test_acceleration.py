"""Test the selection of CUDA optimizations, that they can be reverted, and the fallback, all on the CPU."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import batches
import plain_scripts as plain
import pytest
import sample_images
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import nn

from artgen import Denoise, GeneratedImage, Txt2Img, generate, generate_all, registry, replay
from artgen.engine.acceleration import apply, decoders, policy
from artgen.engine.acceleration.apply import optimized
from artgen.engine.acceleration.cuda_graphs import (
    MAX_CACHED_GRAPHS,
    CaptureFn,
    GraphedModule,
    Tensors,
    cached_graphs,
    drop_graphs,
    with_cuda_graph,
)
from artgen.engine.acceleration.policy import (
    COMPILE_SECONDS,
    COMPILE_SPEEDUP,
    OptimizationContext,
    OptimizationPlan,
    select_optimizations,
)
from artgen.engine.generate import generate_jobs
from artgen.engine.loading import offload
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.errors import MemoryExhaustedError, NonFiniteError
from artgen.events import Notice, StepEvent, no_op
from artgen.jobs.prepare import prepare_jobs
from artgen.outputs import destination_for_requests
from artgen.spec.settings import OutputSettings

CONTEXT = OptimizationContext("exact", "cuda", "fp16", "sd1", (512, 512), 1, 30, on_device=True, unmodified=True)
FALLBACK_NOTE = "An optimization failed: simulated failure. Retrying without optimizations."


class RepeatRecorder:
    """Repeat the recorded work on the recorded tensors, as a CUDA graph does."""

    def __init__(self) -> None:
        self.num_recorded = 0

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        self.num_recorded += 1
        outputs = capture_fn()

        def repeat() -> None:
            for output, tensor in zip(outputs, capture_fn(), strict=True):
                output.copy_(tensor)

        return outputs, repeat


class FailingRecorder:
    """Raise an error instead of recording."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.num_calls = 0

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        self.num_calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("changes", "cuda_graph"),
    [
        ({}, True),
        ({"architecture": "sd2", "size": (768, 768), "device": "cuda:1"}, True),
        ({"level": "none"}, False),
        ({"device": "cpu"}, False),
        ({"device": "mps"}, False),
        ({"architecture": "sdxl", "size": (768, 768)}, True),
        ({"architecture": "sdxl", "size": (1024, 1024)}, False),
        ({"architecture": "sd3", "supports_cuda_graphs": False}, False),
        ({"size": (1024, 1024)}, False),
        ({"batch_size": 2}, True),
        ({"batch_size": 4}, False),
        ({"steps": 4}, False),
        ({"unmodified": False}, False),
    ],
)
def test_cuda_graphs_are_selected_for_small_batches(changes: dict[str, Any], cuda_graph: bool) -> None:
    plan = select_optimizations(replace(CONTEXT, **changes))
    assert plan.cuda_graph is cuda_graph
    assert plan.inexact_optimizations == []
    assert bool(plan.reason) == (replace(CONTEXT, **changes).device.startswith("cuda") and changes != {"level": "none"})


@pytest.mark.parametrize(
    ("changes", "inexact_optimizations"),
    [
        ({}, ["channels last", "fused projections"]),
        ({"architecture": "sdxl", "vae_upcast": True}, ["channels last", "fused projections", "decoder in bf16"]),
        ({"architecture": "sdxl"}, ["channels last", "fused projections"]),
        ({"architecture": "sd3", "unet_blocks": False}, []),
        ({"unmodified": False}, ["channels last"]),
        ({"unmodified": False, "on_device": False}, []),
        ({"device": "cpu"}, []),
        ({"remaining_seconds": COMPILE_SECONDS / COMPILE_SPEEDUP + 1}, ["channels last", "compiled"]),
        ({"remaining_seconds": COMPILE_SECONDS / COMPILE_SPEEDUP - 1}, ["channels last", "fused projections"]),
        ({"remaining_seconds": 1e6, "unmodified": False}, ["channels last"]),
        ({"already_compiled": True}, ["channels last", "compiled"]),
    ],
)
def test_full_selects_and_names_inexact_optimizations(
    changes: dict[str, Any], inexact_optimizations: list[str]
) -> None:
    plan = select_optimizations(replace(CONTEXT, level="full", **changes))
    assert plan.inexact_optimizations == inexact_optimizations


def test_compiled_denoiser_has_no_cuda_graph() -> None:
    assert not select_optimizations(replace(CONTEXT, level="full", remaining_seconds=1e6)).cuda_graph


def test_remaining_seconds_are_estimated_from_the_images_before(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining: list[float] = []

    def record_remaining(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        remaining.append(self.remaining_seconds)

    plain.wrap_method(monkeypatch, ProgressReporter, "__init__", record_remaining)
    batches.run_batch(batches.build_plan(tmp_path, models["sd1"], batches.create_entries(6)), batch_size="2")
    assert remaining[0] == 0  # Nothing was measured yet.
    assert remaining[1] > 0
    assert remaining[-1] == 0  # No image follows.
    remaining.clear()
    requests = [Txt2Img(model=str(models["sd1"]), prompt="a fox", steps=2, seed=seed) for seed in range(4)]
    list(generate_all(requests))
    assert remaining[:2] == [0, 0]  # The duration of the first image includes the loading of the model.
    assert min(remaining[2:]) > 0


class Denoiser(nn.Module):
    """Take arguments that are nested like a UNet's arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, sample: torch.Tensor, step: torch.Tensor, *, prompt: Any, more: Any = None) -> Any:
        self.calls += 1
        if prompt == "return a tensor":
            return sample
        return (self.weight * sample + step + more["added"]["text"],)


def call(module: nn.Module, value: float, step: float = 1.0, batch_size: int = 2) -> Any:
    text = {"text": torch.full((batch_size, 3), 10 * value)}
    with torch.no_grad():
        return module(torch.full((batch_size, 3), value), torch.tensor(step), prompt=None, more={"added": text})


def test_graph_reads_new_inputs_and_returns_independent_outputs() -> None:
    module, recorder = Denoiser(), RepeatRecorder()
    with with_cuda_graph(module, recorder):
        outputs = [call(module, float(value), float(value + 1))[0] for value in range(6)]
    assert recorder.num_recorded == 1
    assert [output[0, 0].item() for output in outputs] == [12.0 * v + v + 1 for v in range(6)]
    assert "forward" not in module.__dict__
    calls = module.calls
    with with_cuda_graph(module, recorder):
        assert call(module, 7.0)[0][0, 0].item() == 85.0
    assert (recorder.num_recorded, module.calls) == (1, calls + 1)  # The graph is reused by the next image.


def test_each_shape_has_its_own_graph() -> None:
    module, recorder = Denoiser(), RepeatRecorder()
    with with_cuda_graph(module, recorder):
        for batch_size in (1, 2, 1, 2, 1, 2):
            assert call(module, 1.0, batch_size=batch_size)[0].shape == (batch_size, 3)
    assert recorder.num_recorded == 2


def test_number_of_cached_graphs_is_limited() -> None:
    module, recorder = Denoiser(), RepeatRecorder()
    with with_cuda_graph(module, recorder):
        for _ in range(2):
            for batch_size in range(1, 8):
                call(module, 1.0, batch_size=batch_size)
        assert recorder.num_recorded == 7
        assert cached_graphs(module) == MAX_CACHED_GRAPHS == 4
        assert call(module, 3.0, batch_size=1)[0][0, 0].item() == 37.0


def test_dropped_graphs_are_recorded_again_with_new_weights() -> None:
    module, recorder = Denoiser(), RepeatRecorder()
    with with_cuda_graph(module, recorder):
        for _ in range(3):
            call(module, 1.0)
    module.weight = nn.Parameter(torch.tensor(3.0))
    drop_graphs(module)
    with with_cuda_graph(module, recorder):
        assert [call(module, 1.0)[0][0, 0].item() for _ in range(3)] == [14.0] * 3
    assert recorder.num_recorded == 2


class ConstantRecorder:
    """Return a recording that does not read its inputs."""

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        return tuple(torch.zeros_like(tensor) for tensor in capture_fn()), lambda: None


class EmptyRecorder:
    """Return a recording that does nothing; its outputs come from the recorded call."""

    def record(self, capture_fn: CaptureFn) -> tuple[Tensors, Callable[[], None]]:
        return capture_fn(), lambda: None


@pytest.mark.parametrize("recorder", [ConstantRecorder(), EmptyRecorder(), FailingRecorder(RuntimeError("capture"))])
def test_failed_or_wrong_recordings_are_errors(recorder: Any) -> None:
    module = Denoiser()
    with with_cuda_graph(module, recorder):
        assert call(module, 0.0)[0][0, 0].item() == 1.0
        with pytest.raises(RuntimeError, match=r"capture|does not reproduce"):
            call(module, 1.0)
    assert cached_graphs(module) == 0
    assert call(module, 2.0)[0][0, 0].item() == 25.0


def test_unsupported_arguments_outputs_and_gradients_are_not_recorded() -> None:
    module, recorder = Denoiser(), RepeatRecorder()
    graphed = GraphedModule(module.forward, recorder)
    for _ in range(3):
        with torch.no_grad():
            graphed(torch.ones(1), torch.ones(1), prompt=object(), more={"added": {"text": torch.ones(1)}})
            assert isinstance(graphed(torch.ones(1), torch.ones(1), prompt="return a tensor"), torch.Tensor)
        graphed(torch.ones(1), torch.ones(1), prompt=None, more={"added": {"text": torch.ones(1)}})[0].backward()
    assert recorder.num_recorded == 0


def load(folder: Path) -> Any:
    with plain.quiet():
        pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, seed: int = 7, prompt: str = "a red fox") -> Any:
    kwargs = {"num_inference_steps": 5, "guidance_scale": 5.0, "generator": torch.Generator().manual_seed(seed)}
    return pipe(prompt, **kwargs).images[0]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_recorded_denoiser_is_bit_identical(models: dict[str, Path], kind: str) -> None:
    pipe, recorder = load(models[kind]), RepeatRecorder()
    expected = [run(pipe), run(pipe, 8, "a blue house")]
    with optimized(pipe, OptimizationPlan(cuda_graph=True), recorder):
        assert sample_images.same(run(pipe), expected[0])
        assert sample_images.same(run(pipe, 8, "a blue house"), expected[1])
        assert sample_images.same(run(pipe), expected[0])
    assert recorder.num_recorded == 1
    assert sample_images.same(run(pipe), expected[0])


@pytest.mark.parametrize(
    "optimizations", [{"channels_last": True}, {"fused_qkv": True}, {"fused_qkv": True, "channels_last": True}]
)
def test_inexact_optimizations_differ_by_at_most_one_gray_level_and_are_reverted(
    models: dict[str, Path], optimizations: dict[str, bool]
) -> None:
    pipe = load(models["sd1"])
    expected = run(pipe)
    for _ in range(2):
        with optimized(pipe, OptimizationPlan(**optimizations)):
            assert sample_images.difference(run(pipe), expected) <= 1
    with optimized(pipe, OptimizationPlan()):
        assert sample_images.same(run(pipe), expected)


def test_latent_denoiser_uses_the_cached_pipeline_without_optimizations(models: dict[str, Path]) -> None:
    noisy = sample_images.photo(Path("noisy.png"))
    request = Denoise(image=noisy, method="latent", model=str(models["sd1"]), sigma="25", steps=2, device="cpu")
    expected = generate(request).image
    model = registry.resolve_model(str(models["sd1"]))
    pipe = apply.load_unoptimized(model, DeviceConfig("cpu", "fp32"), no_op)
    with optimized(pipe, OptimizationPlan(channels_last=True, fused_qkv=True)):
        pass
    assert not pipe.unet.conv_in.weight.is_contiguous()
    assert sample_images.same(generate(request).image, expected)
    assert pipe.unet.conv_in.weight.is_contiguous()


def test_bf16_decoder_is_close_and_does_not_change_the_weights(models: dict[str, Path]) -> None:
    pipe = load(models["sdxl"])
    expected = run(pipe)
    with optimized(pipe, OptimizationPlan(bf16_decoder=True)):
        decoded = run(pipe)
    assert not sample_images.same(decoded, expected)
    assert sample_images.difference(decoded, expected) <= 4
    assert sample_images.same(run(pipe), expected)


def test_bf16_decoder_uses_the_tiling_of_the_vae(models: dict[str, Path]) -> None:
    pipe, tiling = load(models["sdxl"]), []
    for enabled in (False, True, False):
        offload.set_vae_tiling(pipe, enabled)
        with optimized(pipe, OptimizationPlan(bf16_decoder=True)):
            run(pipe)
        decoder = decoders.bf16_decoder(pipe.vae)
        tiling.append((decoder.use_tiling, decoder.use_slicing, decoder.tile_sample_min_size))
    assert tiling[1] == (True, True, registry.VAE_TILE_PX)
    assert [each[:2] for each in tiling[::2]] == [(False, False)] * 2


@pytest.mark.slow
def test_compiled_blocks_differ_by_at_most_one_gray_level_and_are_reverted(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    pipe = load(models["sd1"])
    expected = run(pipe)
    with optimized(pipe, OptimizationPlan(compiled=True)):
        assert sample_images.difference(run(pipe), expected) <= 1
    assert any((tmp_path / "inductor").rglob("*.so"))
    with optimized(pipe, OptimizationPlan()):
        assert sample_images.same(run(pipe), expected)


@pytest.fixture
def request_for_copy(models: dict[str, Path], tmp_path: Path) -> Txt2Img:
    """A request for a copy of a model: a failed optimization disables optimizations for the model's folder."""
    folder = shutil.copytree(models["sd1"], tmp_path / "copy")
    return Txt2Img(model=str(folder), prompt="a red fox", seed=7, steps=4, guidance_scale=5.0, device="cpu")


def select(monkeypatch: pytest.MonkeyPatch, plan: OptimizationPlan, recorder: Any = None) -> list[OptimizationContext]:
    """Use a plan and a recorder for `exact` and `full` on the CPU; return a list that receives the contexts."""
    contexts: list[OptimizationContext] = []

    def select_optimizations(context: OptimizationContext) -> OptimizationPlan:
        contexts.append(context)
        return OptimizationPlan() if context.level == "none" else plan

    monkeypatch.setattr(policy, "select_optimizations", select_optimizations)
    monkeypatch.setattr(apply, "CudaGraphRecorder", lambda _: recorder)
    return contexts


def test_no_optimization_is_used_by_default(request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = RepeatRecorder()
    contexts = select(monkeypatch, OptimizationPlan(cuda_graph=True), recorder)
    expected = generate(request_for_copy)
    assert recorder.num_recorded == 0
    exact = generate(request_for_copy.replace(acceleration="exact"))
    assert recorder.num_recorded == 1
    assert [context.level for context in contexts] == ["none", "exact"]
    assert sample_images.same(exact.image, expected.image)


def test_records_with_acceleration_are_replayed(request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = select(monkeypatch, OptimizationPlan())
    exact = generate(request_for_copy.replace(acceleration="exact"))
    destination = destination_for_requests([exact.request], OutputSettings(output="fox.png"))
    path = Path(destination.save(exact.image, exact.record))
    replayed = replay(path, model=str(request_for_copy.model))
    assert replayed.record["acceleration"] == "exact"
    assert [context.level for context in contexts] == ["exact", "exact"]
    assert sample_images.same(replayed.image, exact.image)


def test_error_while_recording_falls_back_to_plain_diffusers_with_one_note(
    request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(request_for_copy)
    recorder = FailingRecorder(RuntimeError("simulated failure\nsecond line"))
    select(monkeypatch, OptimizationPlan(cuda_graph=True, channels_last=True, fused_qkv=True), recorder)
    events = plain.EventLog()
    request = request_for_copy.replace(acceleration="full")
    first, second = (generate(request, listener=events) for _ in range(2))
    assert sample_images.same(first.image, expected.image)
    assert sample_images.same(second.image, expected.image)
    assert "rounding" not in first.record
    assert recorder.num_calls == 1  # Optimizations are disabled for the model after the failure.
    assert [event.text for event in events.events if isinstance(event, Notice)] == [FALLBACK_NOTE]


def test_error_while_an_optimization_is_applied_falls_back_to_plain_diffusers(
    request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(request_for_copy)

    def fuse_half(self: UNet2DConditionModel) -> None:
        self.mid_block.attentions[0].transformer_blocks[0].attn1.fuse_projections()
        self.conv_in.weight.data.zero_()
        raise AttributeError("simulated failure")

    monkeypatch.setattr(UNet2DConditionModel, "fuse_qkv_projections", fuse_half)
    select(monkeypatch, OptimizationPlan(fused_qkv=True))
    events = plain.EventLog()
    request = request_for_copy.replace(acceleration="full")
    outcomes = list(generate_all([request, request.replace(seed=8)], batch_size=2, listener=events))
    images = [each.image for each in outcomes if isinstance(each, GeneratedImage)]
    assert events.notes == [FALLBACK_NOTE]
    assert sample_images.difference(images[0], expected.image) <= 1  # The batch size differs.
    assert sample_images.same(generate(request).image, expected.image)


def test_error_while_an_optimization_is_reverted_falls_back_to_plain_diffusers(
    request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(request_for_copy)
    select(monkeypatch, OptimizationPlan(channels_last=True))
    generate(request_for_copy.replace(acceleration="full"))

    def fail(*_: object) -> None:
        raise ValueError("simulated failure")

    monkeypatch.setattr(apply, "drop_graphs", fail)
    events = plain.EventLog()
    assert sample_images.same(generate(request_for_copy, listener=events).image, expected.image)
    assert events.notes == [FALLBACK_NOTE]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryExhaustedError),
        (NonFiniteError("NaN at step 1"), NonFiniteError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_memory_errors_nan_and_interrupts_do_not_trigger_the_fallback(
    request_for_copy: Txt2Img,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: type[BaseException],
) -> None:
    select(monkeypatch, OptimizationPlan(channels_last=True))
    events = plain.EventLog()

    def fail(event: object) -> None:
        events(event)
        if isinstance(event, StepEvent):
            raise error

    with pytest.raises(expected):
        generate(request_for_copy.replace(acceleration="full"), listener=fail)
    assert FALLBACK_NOTE not in events.notes
    assert not any("optimization" in note for note in events.notes)


def test_cuda_graphs_are_dropped_and_disabled_after_an_out_of_memory_error(
    request_for_copy: Txt2Img, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(request_for_copy)
    recorder = FailingRecorder(torch.OutOfMemoryError("CUDA out of memory"))
    select(monkeypatch, OptimizationPlan(cuda_graph=True), recorder)
    events = plain.EventLog()
    jobs = prepare_jobs([request_for_copy.replace(acceleration="exact", seed=seed) for seed in (7, 8)])
    outcomes = list(generate_jobs(jobs, listener=events))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes)
    assert sample_images.same(outcomes[0].image, expected.image)
    assert "fallbacks" not in outcomes[0].record  # CUDA graphs do not affect the image.
    assert recorder.num_calls == 1
    assert events.notes == ["Out of memory. Retrying without CUDA graphs."]


@pytest.mark.parametrize(
    ("kind", "dtype", "force_upcast", "vae_upcast"),
    [
        ("sdxl", "fp16", True, True),
        ("sdxl", "fp16", False, False),
        ("sdxl", "fp32", True, False),
        ("sd1", "fp16", True, False),
    ],
)
def test_vae_upcast_is_detected_as_diffusers_does(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, dtype: str, force_upcast: bool, vae_upcast: bool,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(models[kind], tmp_path / "copy"))
    config = folder / "vae" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"force_upcast": true', f'"force_upcast": {str(force_upcast).lower()}'))
    contexts = select(monkeypatch, OptimizationPlan())
    request = Txt2Img(model=str(folder), prompt="a fox", seed=1, steps=1, device="cpu", dtype=dtype, quantize="fp8")
    with contextlib.suppress(RuntimeError):  # Some versions of torch lack fp16 kernels for the CPU.
        generate(request)
    assert contexts[0].vae_upcast is vae_upcast
    assert (contexts[0].on_device, contexts[0].unmodified) == (True, False)  # fp8 weights are cast at each call.
