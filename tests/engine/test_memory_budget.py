"""Which way of offloading fits: arithmetic over sizes of real models, and what it becomes on tiny ones."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import plain_scripts as plain
import pytest
import tiny_loras
import torch

from artgen import Img2Img, Txt2Img, generate, registry
from artgen.engine import memory_policy
from artgen.engine.loading import offload as offloading
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import MemorySettings, plan_memory
from artgen.errors import UsageError
from artgen.events import PlanNote
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

# Parameters in millions, as tests/test_checkpoints.py counts them: text encoders, denoiser, autoencoder.
SIZES = {
    "sd15": ((123.1,), 859.5, 83.7),
    "sdxl": ((123.1, 694.7), 2567.5, 83.7),
    "sd35-medium": ((123.7, 694.7, 4762.3), 2243.2, 83.8),
    "sd35-large": ((123.7, 694.7, 4762.3), 8056.6, 83.8),
}
UPCAST = {"sdxl"}


def of(name: str, side: int, rows: int = 2) -> MemoryEstimate:
    """What a real model takes in fp16, by its configuration and its known size."""
    text, denoiser, vae = (tuple(int(2e6 * each) for each in part) if isinstance(part, tuple) else int(2e6 * part)
                           for part in SIZES[name])  # fmt: skip
    latents = side * side // 64
    values = {"sd15": 26 * 320, "sdxl": 26 * 320, "sd35-medium": 14 * 1536 // 4, "sd35-large": 14 * 2432 // 4}[name]
    decoder = 4 if name in UPCAST else 2
    live = 6 * 128 * decoder
    return MemoryEstimate(
        text_encoder_bytes=text, denoiser_bytes=denoiser, vae_bytes=vae * decoder // 2, other_bytes=0, denoise_activation_bytes=values * latents * rows * 2,  # type: ignore[arg-type, operator]
        decode_activation_bytes=side * side * live, tiled_decode_bytes=512 * 512 * live,
    )  # fmt: skip


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
def test_the_cheapest_that_fits(name: str, side: int, gpu: float, offload: str, tiling: bool) -> None:
    choice = choose_offload(of(name, side), int(gpu * GIB))
    assert (choice.offload, choice.vae_tiling) == (offload, tiling), str(choice)
    assert choice.required_bytes <= choice.budget_bytes


def test_sdxl_on_eight_gibibytes_stays_below_six() -> None:
    assert choose_offload(of("sdxl", 1024), 8 * GIB).required_bytes < 6 * GIB


def test_each_way_takes_no_more_than_the_one_before() -> None:
    """With one exception: Stable Diffusion 3.5's T5 is larger than all else, and lies on the GPU whole with `model`."""
    for name in SIZES:
        for tiling in (False, True):
            modes = OFFLOAD_MODES if name in ("sd15", "sdxl") else ("none", "text", "group", "sequential")
            sizes = [estimate_peak_bytes(of(name, 1024), mode, tiling) for mode in modes]
            assert sizes == sorted(sizes, reverse=True)
        assert estimate_peak_bytes(of(name, 2048), "none", True) < estimate_peak_bytes(of(name, 2048), "none", False)


def test_where_nothing_fits_the_least_is_taken_and_said() -> None:
    choice = choose_offload(of("sd35-large", 2048), GIB // 2)
    assert (choice.offload, choice.vae_tiling) == ("sequential", True)
    assert "more than the 0.5 GiB there are" in str(choice)
    assert str(OffloadPlan("model", True, 3 * GIB, 8 * GIB)) == (
        "offload model, decoding in tiles: about 3.0 GiB of 8.0 GiB there are"
    )


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8GiB", 8 * GIB), ("8GB", 8 * 10**9), ("8G", 8 * GIB), (" 6.5 gib ", 13 * GIB // 2), ("8000MiB", 8000 * MIB)],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "8", "lots", "-8GiB", "8TiB", "8 G i B", "nan", "1e3GiB", "0GiB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="memory_budget must be"):
        Txt2Img(memory_budget=text)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_sizes_are_read_from_headers(models: dict[str, Path], kind: str) -> None:
    """As many bytes as the loaded pipeline's own weights."""
    model = registry.resolve_model(str(models[kind]), offline=True)
    found = registry.estimate_memory(model, "fp32", (32, 32), 2)
    pipe = pipeline_cache.load_pipeline(
        model, DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False, safety_checker=True, listener=lambda _: None
    )

    def size(module: torch.nn.Module) -> int:
        return sum(tensor.nbytes for tensor in module.state_dict().values())

    assert found.denoiser_bytes == size(getattr(pipe, "unet", None) or pipe.transformer)
    assert found.vae_bytes == size(pipe.vae)
    readers = [module for name, module in pipe.components.items() if name.startswith("text_encoder") and module]
    assert sorted(found.text_encoder_bytes) == sorted(map(size, readers))
    eighth = registry.estimate_memory(model, "fp32", (32, 32), 2, fp8=True)
    assert eighth.denoiser_bytes == found.denoiser_bytes // 4
    assert (
        registry.estimate_memory(model, "fp32", (64, 32), 2).decode_activation_bytes
        == 2 * found.decode_activation_bytes
    )


class Live(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the bytes that tensors made within it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.most, self.known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.known:
                size = tensor.untyped_storage().nbytes()
                self.known.add(key)
                self.held += size
                self.most = max(self.most, self.held)
                weakref.finalize(tensor.untyped_storage(), self._gone, key, size)
        return made

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.held -= size


@pytest.mark.parametrize("side", [512, 1024])
def test_what_decoding_holds_is_what_was_counted(side: int) -> None:
    """Stable Diffusion's own decoder, on tensors without contents."""
    from diffusers import AutoencoderKL

    config = json.loads((single_file_configs.CONFIGS_FOLDER / "sd1.json").read_text("utf-8"))["vae/config.json"]
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL.from_config(config)
        with Live() as live:
            vae.decode(torch.empty(1, 4, side // 8, side // 8))
    counted = memory_budget.DECODER_ACTIVATION_FACTOR * config["block_out_channels"][0] * side * side * 4
    assert live.most == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("kind", "text_only"), [("sd1", False), ("sdxl", True), ("sd3", False)])
def test_layers_that_come_and_go_change_no_pixel(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str, text_only: bool
) -> None:
    """The wiring of `text` and `group`; here both places are main memory."""
    request = Txt2Img(model=str(models[kind]), prompt="a red fox", negative_prompt="a cat", seed=7, steps=3)
    whole = generate(request).image
    pipeline_cache.clear_cache()
    cpu = torch.device("cpu")
    with monkeypatch.context() as patched:
        patched.setattr(
            offloading,
            "apply_offload",
            lambda pipe, *_: offloading.group_offload(pipe, cpu, text_encoders_only=text_only),
        )  # a GPU's place is taken by main memory
        assert plain.same(generate(request).image, whole)
        photo = plain.photo(Path("photo.png"))
        shared: dict[str, Any] = {"model": str(models[kind]), "seed": 7, "steps": 3, "image": photo}
        redrawn = generate(Img2Img(**shared)).image
    pipeline_cache.clear_cache()
    assert plain.same(generate(Img2Img(**shared)).image, redrawn)


def test_weights_in_8_bits_are_stored_so_and_recorded(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), prompt="a red fox", seed=7, steps=3)
    exact = generate(request)
    rough = generate(request.replace(quantize="fp8"))
    assert "quantize" not in exact.record
    assert rough.record["quantize"] == "fp8"
    assert not plain.same(rough.image, exact.image)
    assert plain.difference(rough.image, exact.image) < 64
    ((pipe),) = pipeline_cache._cache.values()
    stored = {weight.dtype for weight in pipe.unet.parameters()}
    assert torch.float8_e4m3fn in stored
    # Asked for without it, the first picture comes again.
    assert plain.same(generate(request).image, exact.image)


def test_a_lora_acts_on_layers_that_come_and_go(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    lora = tiny_loras.diffusers_lora(Path("style.safetensors"), models["sd1"])
    bare = Txt2Img(model=str(models["sd1"]), prompt="a red fox", seed=7, steps=3)
    request = bare.replace(lora=(str(lora),))
    exact, plainly = generate(request).image, generate(bare).image
    assert plain.difference(exact, plainly) > 0
    pipeline_cache.clear_cache()
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        offloading, "apply_offload", lambda pipe, *_: offloading.group_offload(pipe, cpu, text_encoders_only=False)
    )
    assert plain.same(generate(request).image, exact)
    assert plain.same(generate(bare).image, plainly)
    pipeline_cache.clear_cache()


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_a_budget_limits_the_gpu_that_is_meant(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=32 * GIB))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
    with memory_policy.memory_limit(DeviceConfig(device, "fp16"), "8GiB"):
        assert limits == [(0.25, index)]  # torch takes no device without a number here
    assert limits[1:] == [(1.0, index)]


def test_a_lora_on_weights_in_8_bits_is_refused() -> None:
    with pytest.raises(UsageError, match="A LoRA cannot be attached to weights in 8 bits"):
        Txt2Img(quantize="fp8", lora=("style.safetensors",))


@pytest.fixture
def gpu_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the planner see a GPU with so many bytes free, half of them held by this process."""

    def pretend(free: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free // 2, 80 * GIB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: free // 2)

    return pretend


def test_auto_settles_what_a_gpu_has_room_for(models: dict[str, Path], gpu_of: Any) -> None:
    jobs = prepare_jobs([Txt2Img(model=str(models["sd1"]), offload="auto", seed=1, steps=2)])
    gpu, heard = DeviceConfig("cuda", "fp16"), plain.Heard()
    asked = MemorySettings.from_request(jobs[0].prompt_request, 4)
    gpu_of(8 * GIB)
    roomy = plan_memory(asked, jobs[0], 4, gpu, heard)
    assert (roomy.offload, roomy.vae_tiling, roomy.batch_size) == ("none", False, 4)
    assert heard.events == [PlanNote("offload none: about 0.3 GiB of 8.0 GiB there are")]
    gpu_of(10 * MIB)
    assert plan_memory(asked, jobs[0], 4, gpu, heard).offload == "sequential"
    assert plan_memory(asked, jobs[0], 4, DeviceConfig("cpu", "fp32"), heard) == asked
    one = registry.estimate_memory(jobs[0].model, "fp16", jobs[0].size, 2)
    gpu_of(estimate_peak_bytes(one, "none", vae_tiling=False) + 20_000)
    fewer = plan_memory(asked, jobs[0], 4, gpu, heard)
    assert (fewer.offload, fewer.vae_tiling, fewer.batch_size) == ("none", False, 1)
    assert str(heard.events[-1]).endswith(", batch size 1 instead of 4')")
    explicit = MemorySettings.from_request(jobs[0].prompt_request.replace(offload="model"), 4)
    assert plan_memory(explicit, jobs[0], 4, gpu, heard) == explicit


def test_a_budget_is_what_there_is_at_most(gpu_of: Any) -> None:
    gpu = DeviceConfig("cuda", "fp16")
    gpu_of(80 * GIB)
    assert memory_policy.available_bytes(gpu, "8GiB") == 8 * GIB
    assert memory_policy.available_bytes(gpu, None) == 80 * GIB
    gpu_of(6 * GIB)
    assert memory_policy.available_bytes(gpu, "8GiB") == 6 * GIB


def test_what_was_chosen_gives_way_step_by_step_when_memory_runs_out() -> None:
    economy: MemorySettings | None = MemorySettings.from_request(Txt2Img(offload="auto"), 1)
    seen = []
    while economy is not None:
        seen.append((economy.offload, economy.vae_tiling))
        economy = economy.next_fallback(DeviceConfig("cuda", "fp16"), 1)
    assert seen == [("none", False), *((mode, True) for mode in OFFLOAD_MODES)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_on_the_cpu_layers_cannot_come_and_go(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), offload="auto", seed=1, steps=2)
    record = generate(request).record
    assert (record["offload"], record["vae_tiling"]) == ("none", False)
    for mode in ("model", "group", "sequential"):
        with pytest.raises(UsageError, match=f"--offload {mode} needs a GPU") as raised:
            prepare_jobs([request.replace(offload=mode)])
        assert "--offload text" in raised.value.hint


def test_a_budget_on_mps_is_refused(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 0)
    monkeypatch.setattr(hardware, "has_mps", lambda: True)
    for device in ("auto", "mps"):
        with pytest.raises(UsageError, match="for a CUDA device or the CPU"):
            prepare_jobs([Txt2Img(model=str(models["sd1"]), device=device, memory_budget="8GiB")])
    assert prepare_jobs([Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="8GiB")])


def test_skipped_layers_are_not_those_that_fetch_others(models: dict[str, Path], gpu_of: Any) -> None:
    """`--fast cache` and groups of layers exclude each other: another way is chosen, before anything is read."""
    gpu_of(80 * MIB)
    group = estimate_peak_bytes(of("sd15", 512), "group", False)
    assert choose_offload(of("sd15", 512), group).offload == "group"
    assert choose_offload(of("sd15", 512), group, excluded_mode="group").offload == "sequential"
    request = Txt2Img(model=str(models["sd1"]), offload="auto", fast="cache", seed=1, steps=30)
    economy: MemorySettings | None = MemorySettings.from_request(request, 1)
    seen = []
    while economy is not None:
        seen.append(economy.offload)
        economy = economy.next_fallback(DeviceConfig("cuda", "fp16"), 1)
    assert seen == ["none", "none", "text", "model", "sequential"]


def test_large_pictures_are_decoded_in_tiles_unless_told_otherwise(models: dict[str, Path]) -> None:
    def tiled(**more: Any) -> object:
        return prepare_jobs([Txt2Img(model=str(models["sd1"]), **more)])[0].prompt_request.vae_tiling

    assert tiled(width=1448, height=1448) is False
    assert tiled(width=1456, height=1456) is True
    assert tiled(width=2048, height=2048, vae_tiling=False) is False
    assert tiled(vae_tiling=True) is True
