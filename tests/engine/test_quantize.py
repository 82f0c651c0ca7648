"""Test --quantize int8 and nf4: images of diffusers, and refusals. `test_weights.py` tests fp8."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line
import diffusers
import plain_scripts
import pytest
import torch

from artgen import Txt2Img, generate, replay
from artgen.engine.loading import loaded_models
from artgen.errors import UsageError
from artgen.jobs import checks

CALL: dict[str, Any] = {"prompt": "a red fox", "guidance_scale": 4.0, "width": 64, "height": 64}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def request(model: Path, **settings: Any) -> Txt2Img:
    return Txt2Img(model=str(model), quantize="int8", seed=7, steps=2, **CALL, **settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "flux-dev"])
def test_int8_gives_the_image_of_diffusers(name: str, dtype: str, zoo: Mapping[str, Path]) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    folder = zoo[name]
    component = "unet" if (folder / "unet").is_dir() else "transformer"
    denoiser_class = diffusers.DiffusionPipeline.load_config(folder)[component][1]
    with plain_scripts.quiet():
        denoiser = getattr(diffusers, denoiser_class).from_pretrained(
            folder / component,
            quantization_config=diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig()),
            torch_dtype=DTYPES[dtype],
        )
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=DTYPES[dtype], **{component: denoiser})
    pipe.set_progress_bar_config(disable=True)
    expected = plain_scripts.run(pipe, seed=7, num_inference_steps=2, **CALL)
    result = generate(request(folder, dtype=dtype))
    assert result.image == expected
    assert result.record["quantize"] == "int8"
    cached = next(iter(loaded_models.active_values()))
    linear = [module for module in getattr(cached, component).modules() if isinstance(module, torch.nn.Linear)]
    assert {type(module.weight).__name__ for module in linear} == {"Int8Tensor"}


def test_int8_is_replayed_and_differs_from_other_weights(zoo: Mapping[str, Path]) -> None:
    pytest.importorskip("torchao")
    model = zoo["sd1"]
    result = generate(request(model))
    assert result.image != generate(request(model).replace(quantize=None)).image
    assert result.image == generate(request(model)).image
    options = ("--quantize", "int8", "--size", "64x64", "--seed", "7", "--steps", "2", "-g", "4", "-o", "a.png")
    command_line.run("txt2img", CALL["prompt"], "-m", str(model), *options)
    assert replay(Path("a.png")).image == result.image


def test_a_missing_package_is_reported_before_anything_is_loaded(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    monkeypatch.setattr("artgen.registry.resolve_reference", lambda *_, **__: pytest.fail("resolved"))
    with pytest.raises(UsageError, match="needs the package torchao, which is not installed") as raised:
        generate(request(Path(sd1)))
    assert raised.value.hint == "pip install 'artgen[int8]'"


def test_nf4_needs_cuda(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = command_line.run("txt2img", "x", "-m", sd1, "--quantize", "nf4", "--device", "cpu", code=2)
    assert "--quantize nf4 needs a CUDA device." in result.output
    monkeypatch.setattr(checks.hardware, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(UsageError, match="needs the package bitsandbytes"):
        checks.check_quantize("auto", "nf4")


@pytest.mark.parametrize("quantize", ["fp8", "int8"])
def test_loras_exclude_quantized_weights(quantize: str, sd1: str) -> None:
    result = command_line.run("txt2img", "x", "-m", sd1, "--quantize", quantize, "--lora", "a.safetensors", code=2)
    assert "Cannot use a LoRA with --quantize." in result.output


def test_int8_does_not_hide_missing_tensors(zoo: Mapping[str, Path]) -> None:
    pytest.importorskip("torchao")
    folder = Path(shutil.copytree(zoo["sd1"], "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = command_line.run("txt2img", "x", "-m", str(folder), "--quantize", "int8", code=4)
    assert "truncated" in result.output


def test_the_command_line_prints_no_warnings_of_torchao() -> None:
    pytest.importorskip("torchao")
    command = [sys.executable, "-m", "artgen", "txt2img", "a fox", "--quantize", "int8", "--steps", "1", "--seed", "7"]
    process = subprocess.run([*command, "-o", "a.png"], capture_output=True, text=True, timeout=600, check=True)
    lines = [line.split(" on the CPU")[0].split(",")[0] for line in process.stderr.splitlines()]
    assert lines == ["Loading torch", "Using tiny", "Seed 7"]
