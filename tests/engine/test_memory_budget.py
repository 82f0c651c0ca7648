"""Test the plan of the offload mode for the sizes of real models, and offload on tiny models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from artgen import Img2Img, Txt2Img, generate, registry
from artgen.engine.loading import free_memory, offload, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import plan_memory
from artgen.engine.memory_settings import MemorySettings
from artgen.errors import UsageError
from artgen.events import PlanNote, no_op
from artgen.jobs.prepare import prepare_jobs
from artgen.registry import single_file_configs
from artgen.spec import memory_budget
from artgen.spec.memory_budget import (
    OFFLOAD_MODES,
    MemoryEstimate,
    OffloadPlan,
    choose_offload,
    estimate_peak_bytes,
    parse_bytes,
)
from artgen.system import hardware

MIB, GIB = 2**20, 2**30

# Parameters in millions: text encoders, denoiser, VAE.
MILLION_PARAMETERS = {
    "sd15": ((123.1,), 859.5, 83.7),
    "sdxl": ((123.1, 694.7), 2567.5, 83.7),
    "sd35-medium": ((123.7, 694.7, 4762.3), 2243.2, 83.8),
    "sd35-large": ((123.7, 694.7, 4762.3), 8056.6, 83.8),
}
FP32_DECODER_MODELS = {"sdxl"}


def fp16_estimate(name: str, side: int, batch_size: int = 2) -> MemoryEstimate:
    """Return the estimate for a real model in fp16."""
    text_encoders, denoiser, vae = MILLION_PARAMETERS[name]
    latents = side * side // 64
    values = {"sd15": 26 * 320, "sdxl": 26 * 320, "sd35-medium": 14 * 1536 // 4, "sd35-large": 14 * 2432 // 4}[name]
    decoder = 4 if name in FP32_DECODER_MODELS else 2
    live = 6 * 128 * decoder
    return MemoryEstimate(
        text_encoder_bytes=tuple(int(2e6 * each) for each in text_encoders),
        denoiser_bytes=int(2e6 * denoiser),
        vae_bytes=int(2e6 * vae) * decoder // 2,
        other_bytes=0,
        denoise_activation_bytes=values * latents * batch_size * 2,
        decode_activation_bytes=side * side * live,
        tiled_decode_bytes=512 * 512 * live,
    )


@pytest.mark.parametrize(
    ("name", "side", "gpu", "offload", "tiling"),
    [
        ("sd15", 512, 24, "none", False),
        ("sd15", 512, 4, "none", False),
        ("sd15", 512, 2.5, "text", False),
        ("sd15", 512, 2.3, "model", False),
        ("sd15", 512, 1.2, "group", False),
        ("sdxl", 1024, 24, "none", False),
        ("sdxl", 1024, 10, "text", False),
        ("sdxl", 1024, 8, "model", False),
        ("sdxl", 1024, 6, "model", False),
        ("sdxl", 1024, 5, "group", False),
        ("sdxl", 1024, 3, "group", True),
        ("sd35-medium", 1024, 24, "none", False),
        ("sd35-medium", 1024, 16, "text", False),
        ("sd35-medium", 1024, 10, "text", False),
        ("sd35-medium", 1024, 5, "group", False),
        ("sd35-large", 1024, 32, "none", False),
        ("sd35-large", 1024, 20, "text", False),
        ("sd35-large", 1024, 12, "group", False),
    ],
)
def test_fastest_mode_that_fits_is_chosen(name: str, side: int, gpu: float, offload: str, tiling: bool) -> None:
    plan = choose_offload(fp16_estimate(name, side), int(gpu * GIB))
    assert (plan.offload, plan.vae_tiling) == (offload, tiling), str(plan)
    assert plan.required_bytes <= plan.budget_bytes


def test_sdxl_with_8_gib_needs_less_than_6_gib() -> None:
    assert choose_offload(fp16_estimate("sdxl", 1024), 8 * GIB).required_bytes < 6 * GIB


def test_each_mode_needs_at_most_the_memory_of_the_one_before() -> None:
    """Exception: `model` puts the complete T5 on the GPU, the largest component of Stable Diffusion 3.5."""
    for name in MILLION_PARAMETERS:
        for tiling in (False, True):
            modes = OFFLOAD_MODES if name in ("sd15", "sdxl") else ("none", "text", "group", "sequential")
            sizes = [estimate_peak_bytes(fp16_estimate(name, 1024), mode, tiling) for mode in modes]
            assert sizes == sorted(sizes, reverse=True)
        large = fp16_estimate(name, 2048)
        assert estimate_peak_bytes(large, "none", True) < estimate_peak_bytes(large, "none", False)


def test_mode_with_the_least_memory_is_chosen_if_none_fits() -> None:
    plan = choose_offload(fp16_estimate("sd35-large", 2048), GIB // 2)
    assert (plan.offload, plan.vae_tiling) == ("sequential", True)
    assert "more than the 0.5 GiB available" in str(plan)
    assert str(OffloadPlan("model", True, 3 * GIB, 8 * GIB)) == (
        "offload model, VAE tiling: about 3.0 GiB of 8.0 GiB available"
    )


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("8GiB", 8 * GIB), ("8GB", 8 * 10**9), ("8G", 8 * GIB), (" 6.5 gib ", 13 * GIB // 2), ("8000MiB", 8000 * MIB)],
)
def test_parse_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "8", "lots", "-8GiB", "8TiB", "8 G i B", "nan", "1e3GiB", "0GiB"])
def test_invalid_memory_budget_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="memory_budget must be"):
        Txt2Img(memory_budget=text)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_estimated_weight_sizes_equal_those_of_the_pipeline(models: dict[str, Path], kind: str) -> None:
    model = registry.resolve_model(str(models[kind]), offline=True)
    estimate = registry.estimate_memory(model, "fp32", (32, 32), 2)
    pipe = pipeline_cache.load_pipeline(
        model, DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False, safety_checker=True, listener=no_op
    )

    def size(module: torch.nn.Module) -> int:
        return sum(tensor.nbytes for tensor in module.state_dict().values())

    assert estimate.denoiser_bytes == size(getattr(pipe, "unet", None) or pipe.transformer)
    assert estimate.vae_bytes == size(pipe.vae)
    text_encoders = [module for name, module in pipe.components.items() if name.startswith("text_encoder") and module]
    assert sorted(estimate.text_encoder_bytes) == sorted(map(size, text_encoders))
    fp8 = registry.estimate_memory(model, "fp32", (32, 32), 2, quantize="fp8")
    assert fp8.denoiser_bytes == estimate.denoiser_bytes // 4
    assert (
        registry.estimate_memory(model, "fp32", (64, 32), 2).decode_activation_bytes
        == 2 * estimate.decode_activation_bytes
    )


class LiveTensorBytes(TorchDispatchMode):
    """Measure the largest number of bytes that the tensors created within the block hold at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes, self.peak_bytes, self.live_storages = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        outputs = func(*args, **(kwargs or {}))
        for tensor in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.live_storages:
                size = tensor.untyped_storage().nbytes()
                self.live_storages.add(key)
                self.live_bytes += size
                self.peak_bytes = max(self.peak_bytes, self.live_bytes)
                weakref.finalize(tensor.untyped_storage(), self.on_free, key, size)
        return outputs

    def on_free(self, key: int, size: int) -> None:
        self.live_storages.discard(key)
        self.live_bytes -= size


@pytest.mark.parametrize("side", [512, 1024])
def test_decoder_activation_factor_equals_the_measured_peak(side: int) -> None:
    """Run the decoder of Stable Diffusion on meta tensors."""
    from diffusers import AutoencoderKL

    config = json.loads((single_file_configs.CONFIGS_FOLDER / "sd1.json").read_text("utf-8"))["vae/config.json"]
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL.from_config(config)
        with LiveTensorBytes() as live:
            vae.decode(torch.empty(1, 4, side // 8, side // 8))
    expected = memory_budget.DECODER_ACTIVATION_FACTOR * config["block_out_channels"][0] * side * side * 4
    assert live.peak_bytes == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("kind", "text_only"), [("sd1", False), ("sdxl", True), ("sd3", False)])
def test_text_and_group_offloading_change_no_pixel(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str, text_only: bool
) -> None:
    """Offload to the CPU from the CPU: the test needs no GPU."""
    request = Txt2Img(model=str(models[kind]), prompt="a red fox", negative_prompt="a cat", seed=7, steps=3)
    expected = generate(request).image
    pipeline_cache.clear_cache()
    cpu = torch.device("cpu")
    with monkeypatch.context() as patched:
        patched.setattr(
            offload,
            "apply_offload",
            lambda pipe, *_: offload.group_offload(pipe, cpu, text_encoders_only=text_only),
        )
        assert sample_images.same(generate(request).image, expected)
        photo = sample_images.photo(Path("photo.png"))
        shared: dict[str, Any] = {"model": str(models[kind]), "seed": 7, "steps": 3, "image": photo}
        img2img = generate(Img2Img(**shared)).image
    pipeline_cache.clear_cache()
    assert sample_images.same(generate(Img2Img(**shared)).image, img2img)


def test_fp8_weights_are_stored_in_fp8_and_recorded(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), prompt="a red fox", seed=7, steps=3)
    exact = generate(request)
    fp8 = generate(request.replace(quantize="fp8"))
    assert "quantize" not in exact.record
    assert fp8.record["quantize"] == "fp8"
    assert not sample_images.same(fp8.image, exact.image)
    assert sample_images.difference(fp8.image, exact.image) < 64
    pipe = pipeline_cache.load_pipeline(
        registry.resolve_model(str(models["sd1"])),
        DeviceConfig(fp8.record["device"], fp8.record["dtype"], "fp8"),
        offload=None,
        vae_tiling=False,
        safety_checker=True,
        listener=no_op,
    )
    assert torch.float8_e4m3fn in {weight.dtype for weight in pipe.unet.parameters()}
    assert sample_images.same(generate(request).image, exact.image)


def test_lora_works_with_group_offloading(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    lora = tiny_loras.diffusers_lora(Path("style.safetensors"), models["sd1"])
    without_lora = Txt2Img(model=str(models["sd1"]), prompt="a red fox", seed=7, steps=3)
    request = without_lora.replace(lora=(str(lora),))
    expected, plain_image = generate(request).image, generate(without_lora).image
    assert sample_images.difference(expected, plain_image) > 0
    pipeline_cache.clear_cache()
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        offload, "apply_offload", lambda pipe, *_: offload.group_offload(pipe, cpu, text_encoders_only=False)
    )
    assert sample_images.same(generate(request).image, expected)
    assert sample_images.same(generate(without_lora).image, plain_image)
    pipeline_cache.clear_cache()


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_memory_limit_applies_to_the_selected_gpu(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=32 * GIB))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *args: limits.append(args))
    with free_memory.memory_limit(DeviceConfig(device, "fp16"), "8GiB"):
        assert limits == [(0.25, index)]  # torch needs a device index here.
    assert limits[1:] == [(1.0, index)]


def test_lora_with_fp8_weights_is_rejected() -> None:
    with pytest.raises(UsageError, match="Cannot use a LoRA with --quantize"):
        Txt2Img(quantize="fp8", lora=("style.safetensors",))


@pytest.fixture
def set_gpu_memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Simulate a GPU with a number of available bytes, half of them reserved by this process."""

    def simulate(free: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free // 2, 80 * GIB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: free // 2)

    return simulate


def test_auto_chooses_the_mode_for_the_available_memory(models: dict[str, Path], set_gpu_memory: Any) -> None:
    jobs = prepare_jobs([Txt2Img(model=str(models["sd1"]), offload="auto", seed=1, steps=2)])
    gpu, events = DeviceConfig("cuda", "fp16"), plain.EventLog()
    requested = MemorySettings.from_request(jobs[0].request, 4)
    set_gpu_memory(8 * GIB)
    large = plan_memory(requested, jobs[0], 4, gpu, events)
    assert (large.offload, large.vae_tiling, large.batch_size) == ("none", False, 4)
    assert events.events == [PlanNote("offload none: about 0.3 GiB of 8.0 GiB available")]
    set_gpu_memory(10 * MIB)
    assert plan_memory(requested, jobs[0], 4, gpu, events).offload == "sequential"
    assert plan_memory(requested, jobs[0], 4, DeviceConfig("cpu", "fp32"), events) == requested
    one_image = registry.estimate_memory(jobs[0].model, "fp16", jobs[0].size, 2)
    set_gpu_memory(estimate_peak_bytes(one_image, "none", vae_tiling=False) + 20_000)
    smaller_batch = plan_memory(requested, jobs[0], 4, gpu, events)
    assert (smaller_batch.offload, smaller_batch.vae_tiling, smaller_batch.batch_size) == ("none", False, 1)
    assert str(events.events[-1]).endswith(", batch size 1 instead of 4')")
    explicit = MemorySettings.from_request(jobs[0].request.replace(offload="model"), 4)
    assert plan_memory(explicit, jobs[0], 4, gpu, events) == explicit


def test_memory_budget_is_limited_by_the_available_memory(set_gpu_memory: Any) -> None:
    gpu = DeviceConfig("cuda", "fp16")
    set_gpu_memory(80 * GIB)
    assert free_memory.available_bytes(gpu, "8GiB") == 8 * GIB
    assert free_memory.available_bytes(gpu, None) == 80 * GIB
    set_gpu_memory(6 * GIB)
    assert free_memory.available_bytes(gpu, "8GiB") == 6 * GIB


def test_fallbacks_of_auto_use_every_mode() -> None:
    settings: MemorySettings | None = MemorySettings.from_request(Txt2Img(offload="auto"), 1)
    modes = []
    while settings is not None:
        modes.append((settings.offload, settings.vae_tiling))
        settings = settings.next_fallback(DeviceConfig("cuda", "fp16"), 1)
    assert modes == [("none", False), *((mode, True) for mode in OFFLOAD_MODES)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is available")
def test_gpu_offload_modes_are_rejected_on_the_cpu(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), offload="auto", seed=1, steps=2)
    record = generate(request).record
    assert (record["offload"], record["vae_tiling"]) == ("none", False)
    for mode in ("model", "group", "sequential"):
        with pytest.raises(UsageError, match=f"--offload {mode} needs a GPU") as raised:
            prepare_jobs([request.replace(offload=mode)])
        assert "--offload text" in raised.value.hint


def test_memory_budget_is_rejected_on_mps(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 0)
    monkeypatch.setattr(hardware, "has_mps", lambda: True)
    for device in ("auto", "mps"):
        with pytest.raises(UsageError, match="only CUDA devices and the CPU"):
            prepare_jobs([Txt2Img(model=str(models["sd1"]), device=device, memory_budget="8GiB")])
    assert prepare_jobs([Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="8GiB")])


def test_cache_excludes_group_offloading(models: dict[str, Path], set_gpu_memory: Any) -> None:
    """`--fast cache` skips layers that prefetch other layers with group offloading."""
    set_gpu_memory(80 * MIB)
    group = estimate_peak_bytes(fp16_estimate("sd15", 512), "group", False)
    assert choose_offload(fp16_estimate("sd15", 512), group).offload == "group"
    assert choose_offload(fp16_estimate("sd15", 512), group, excluded_mode="group").offload == "sequential"
    request = Txt2Img(model=str(models["sd1"]), offload="auto", fast="cache", seed=1, steps=30)
    settings: MemorySettings | None = MemorySettings.from_request(request, 1)
    modes = []
    while settings is not None:
        modes.append(settings.offload)
        settings = settings.next_fallback(DeviceConfig("cuda", "fp16"), 1)
    assert modes == ["none", "none", "text", "model", "sequential"]


def test_large_images_are_decoded_in_tiles_by_default(models: dict[str, Path]) -> None:
    def vae_tiling(**settings: Any) -> object:
        return prepare_jobs([Txt2Img(model=str(models["sd1"]), **settings)])[0].request.vae_tiling

    assert vae_tiling(width=1448, height=1448) is False
    assert vae_tiling(width=1456, height=1456) is True
    assert vae_tiling(width=2048, height=2048, vae_tiling=False) is False
    assert vae_tiling(vae_tiling=True) is True
