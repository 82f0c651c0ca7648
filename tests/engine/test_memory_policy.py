"""The ladder of economies, step by step, and the table of devices and precisions."""

import subprocess
import sys

import pytest
import torch

from artgen import Txt2Img
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.loading.oom import is_oom
from artgen.engine.memory_policy import MemorySettings
from artgen.errors import UsageError
from artgen.jobs.prepare import prepare_jobs

CPU, GPU = DeviceConfig("cpu", "fp32"), DeviceConfig("cuda:1", "fp16")


def ladder(economy: MemorySettings | None, device_config: DeviceConfig) -> tuple[str, ...]:
    while economy is not None:
        last = economy
        economy = economy.next_fallback(device_config, economy.batch_size)
    return last.fallbacks


def test_the_order_costs_least_first() -> None:
    steps = ("batch size 2", "batch size 1", "vae tiling")
    assert ladder(MemorySettings.from_request(Txt2Img(), 5), CPU) == steps
    assert ladder(MemorySettings.from_request(Txt2Img(), 4), GPU) == (*steps, "offload model")


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_an_explicit_choice_of_offloading_is_kept(offload: str) -> None:
    assert ladder(MemorySettings.from_request(Txt2Img(offload=offload), 1), GPU) == ("vae tiling",)
    assert ladder(MemorySettings.from_request(Txt2Img(offload=offload, vae_tiling=True), 1), GPU) == ()


def test_what_counts_as_lack_of_memory() -> None:
    assert is_oom(torch.OutOfMemoryError("anything"))
    assert is_oom(MemoryError())
    assert is_oom(RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"))
    assert not is_oom(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_oom(OSError("out of memory cards"))


def test_each_device_has_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu", "auto") == CPU
    assert resolve_device("cpu", "bf16").torch_dtype is torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", "auto") == DeviceConfig("cuda", "fp16")
    assert resolve_device("cuda:1", "auto") == GPU
    assert resolve_device("cuda", "fp32") == DeviceConfig("cuda", "fp32")
    with pytest.raises(UsageError, match="no device cuda:2"):
        resolve_device("cuda:2", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto", "auto") == DeviceConfig("mps", "fp16")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:1", "CUDA", ""])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="device must be"):
        Txt2Img(device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "cuda"}, "There is no CUDA device"),
        ({"device": "cuda:3"}, "There is no CUDA device"),
        ({"offload": "model", "device": "cpu"}, "--offload model needs a GPU"),
        ({"offload": "sequential"}, "--offload sequential needs a GPU"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare_jobs([Txt2Img(**settings)])  # type: ignore[arg-type]
    if "device" in settings and settings["device"] != "cpu":
        with pytest.raises(UsageError, match="CUDA"):
            resolve_device(settings["device"], "auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_it_is_refused_before_torch_is_imported() -> None:
    script = """
import sys
from artgen import Txt2Img, ArtgenError
from artgen.jobs.prepare import prepare
try:
    prepare([Txt2Img(device="cuda")])
except ArtgenError as error:
    print(error.exit_code, *(name for name in ("torch", "diffusers", "transformers", "numpy") if name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "2"
