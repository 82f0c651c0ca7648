"""Test the order of the memory fallbacks, and the default precision of each device."""

import subprocess
import sys

import pytest
import torch

from artgen import Txt2Img
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.loading.oom import is_oom
from artgen.engine.memory_settings import MemorySettings
from artgen.errors import UsageError
from artgen.jobs.prepare import prepare_jobs

CPU, GPU = DeviceConfig("cpu", "fp32"), DeviceConfig("cuda:1", "fp16")


def all_fallbacks(settings: MemorySettings | None, device_config: DeviceConfig) -> tuple[str, ...]:
    """Return the fallbacks that are applied until none remains."""
    while settings is not None:
        last = settings
        settings = settings.next_fallback(device_config, settings.batch_size)
    return last.fallbacks


def test_cheapest_fallback_comes_first() -> None:
    steps = ("batch size 2", "batch size 1", "vae tiling")
    assert all_fallbacks(MemorySettings.from_request(Txt2Img(), 5), CPU) == steps
    assert all_fallbacks(MemorySettings.from_request(Txt2Img(), 4), GPU) == (*steps, "offload model")


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_explicit_offload_mode_is_not_changed(offload: str) -> None:
    assert all_fallbacks(MemorySettings.from_request(Txt2Img(offload=offload), 1), GPU) == ("vae tiling",)
    assert all_fallbacks(MemorySettings.from_request(Txt2Img(offload=offload, vae_tiling=True), 1), GPU) == ()


def test_out_of_memory_errors_are_recognized() -> None:
    assert is_oom(torch.OutOfMemoryError("anything"))
    assert is_oom(MemoryError())
    assert is_oom(RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"))
    assert not is_oom(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_oom(OSError("out of memory cards"))


def test_default_precision_of_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu", "auto") == CPU
    assert resolve_device("cpu", "bf16").torch_dtype is torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", "auto") == DeviceConfig("cuda", "fp16")
    assert resolve_device("cuda:1", "auto") == GPU
    assert resolve_device("cuda", "fp32") == DeviceConfig("cuda", "fp32")
    with pytest.raises(UsageError, match="Cannot use 'cuda:2'"):
        resolve_device("cuda:2", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto", "auto") == DeviceConfig("mps", "fp16")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:1", "CUDA", ""])
def test_invalid_device_is_rejected(device: str) -> None:
    with pytest.raises(UsageError, match="device must be"):
        Txt2Img(device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "Cannot use CUDA"),
        ({"device": "cuda:3"}, "Cannot use CUDA"),
        ({"offload": "model", "device": "cpu"}, "--offload model needs a GPU"),
        ({"offload": "sequential"}, "--offload sequential needs a GPU"),
    ],
)
def test_unavailable_gpu_is_rejected(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare_jobs([Txt2Img(**settings)])  # type: ignore[arg-type]
    if "device" in settings and settings["device"] != "cpu":
        with pytest.raises(UsageError, match="CUDA"):
            resolve_device(settings["device"], "auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_unavailable_gpu_is_rejected_before_torch_is_imported() -> None:
    script = """
import sys
from artgen import Txt2Img, ArtgenError
from artgen.jobs.prepare import prepare_jobs
try:
    prepare_jobs([Txt2Img(device="cuda")])
except ArtgenError as error:
    print(error.exit_code, *(name for name in ("torch", "diffusers", "transformers", "numpy") if name in sys.modules))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600)
    assert process.stdout.strip() == "2"
