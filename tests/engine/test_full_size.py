"""Test models at full size with random weights: images and peak memory as with plain diffusers.

Stable Diffusion 1.5 is loaded in fp32 from a folder and from a single file. SDXL and Stable Diffusion 3.5 Medium,
without T5, are loaded in bf16 from a folder. The peak memory is printed, also with `--quantize int8`.
"""

import gc
import importlib.util
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import original_layout
import pytest
import torch
from benchmarks import full_size
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from artgen.registry.safetensors_header import read_header

pytestmark = pytest.mark.slow

UNET_PARAMETERS = 859_520_964
MAX_MEMORY_RATIO = 1.15
"""Largest ratio of artgen's peak memory to that of the plain script."""

SETTINGS = {
    "prompt": "a red fox in the snow",
    "steps": 2,
    "guidance_scale": 7.5,
    "seed": 7,
    "width": 256,
    "height": 256,
}

MEASURE = """
import hashlib, json, resource, sys, time
import torch
torch.set_num_threads(1)
started = time.monotonic()
{generate}
print(json.dumps({{
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "seconds": round(time.monotonic() - started, 1),
    "size": image.size,
    "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
    "levels": len(set(image.tobytes())),
}}))
"""

DIFFUSERS = """
from diffusers import DiffusionPipeline, StableDiffusionPipeline
model, settings = sys.argv[1], json.loads(sys.argv[2])
absent = dict.fromkeys(["text_encoder_3", "tokenizer_3"]) if "sd35" in model else {}
pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, **absent)
image = pipe(
    settings["prompt"], num_inference_steps=settings["steps"], guidance_scale=settings["guidance_scale"],
    width=settings["width"], height=settings["height"],
    generator=torch.Generator("cpu").manual_seed(settings["seed"]),
).images[0]
"""

DIFFUSERS_FILE = DIFFUSERS.replace(
    "DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, **absent)",
    "StableDiffusionPipeline.from_single_file(model, config=sys.argv[3], local_files_only=True, "
    "torch_dtype=torch.float32)",
)

ARTGEN = """
from artgen import Txt2Img, generate
image = generate(Txt2Img(model=sys.argv[1], device="cpu", dtype="fp32", **json.loads(sys.argv[2]))).image
"""


DIFFUSERS_BF16 = DIFFUSERS.replace("torch.float32", "torch.bfloat16")
ARTGEN_BF16 = ARTGEN.replace("fp32", "bf16")
ARTGEN_INT8 = ARTGEN_BF16.replace('dtype="bf16"', 'dtype="bf16", quantize="int8"')
BF16_MODELS = {"sdxl": ("unet", 2_567_463_684), "sd35-medium": ("transformer", 2_243_171_520)}
"""Configuration of a model -> its denoiser and the number of the denoiser's parameters."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Save a folder and a single file with the same random weights, about 2 GiB each; delete both afterwards."""
    root = tmp_path_factory.mktemp("full-size")
    folder, file = root / "sd15", root / "sd15.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(root / "cache"))
        full_size.build("sd1", folder, torch.float16)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float16)
    assert sum(weight.numel() for weight in unet.parameters()) == UNET_PARAMETERS
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float16)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float16)
    original = original_layout.to_original_sd1(unet.state_dict(), vae.state_dict(), text.state_dict())
    save_file(original, file, metadata={"format": "pt"})
    del unet, vae, text, original
    yield folder, file
    shutil.rmtree(root)


def measure(generate: str, model: Path, *args: Path) -> dict[str, Any]:
    command_args = [str(model), json.dumps(SETTINGS), *map(str, args)]
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE.format(generate=generate), *command_args],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    assert result["size"] == [256, 256]
    assert result["levels"] > 10
    return result


def test_images_and_peak_memory_equal_those_of_diffusers(
    weights: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = weights
    diffusers_folder = measure(DIFFUSERS, folder)
    artgen_folder = measure(ARTGEN, folder)
    diffusers_file = measure(DIFFUSERS_FILE, file, folder)
    artgen_file = measure(ARTGEN, file)
    with capsys.disabled():
        print("\nStable Diffusion 1.5, random weights, fp32 on the CPU, 2 steps at 256x256:")
        for name, result in (
            ("plain diffusers, folder", diffusers_folder),
            ("artgen, folder", artgen_folder),
            ("plain diffusers, file", diffusers_file),
            ("artgen, file", artgen_file),
        ):
            print(f"  {name:24} peak {result['peak_mib']:>6} MiB, {result['seconds']:>6} s")
    assert artgen_folder["sha256"] == diffusers_folder["sha256"]
    assert artgen_file["sha256"] == diffusers_file["sha256"] == diffusers_folder["sha256"]
    assert artgen_folder["peak_mib"] <= MAX_MEMORY_RATIO * diffusers_folder["peak_mib"]
    assert artgen_file["peak_mib"] <= MAX_MEMORY_RATIO * diffusers_file["peak_mib"]


@pytest.fixture
def bf16_model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Save a folder with random weights in bf16, about 7 GiB; delete it afterwards."""
    folder = tmp_path / request.param
    full_size.build(request.param, folder, torch.bfloat16)
    denoiser, parameters = BF16_MODELS[request.param]
    shapes = {
        name: shape
        for file in (folder / denoiser).glob("*.safetensors")
        for name, (_, shape) in read_header(file).tensors.items()
    }
    shapes.pop("pos_embed.pos_embed", None)  # a buffer
    assert sum(map(math.prod, shapes.values())) == parameters
    gc.collect()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("bf16_model", BF16_MODELS, indirect=True)
def test_bf16_images_and_peak_memory_equal_those_of_diffusers(
    bf16_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = measure(DIFFUSERS_BF16, bf16_model)
    artgen = measure(ARTGEN_BF16, bf16_model)
    rows = [("plain diffusers", plain), ("artgen", artgen)]
    if importlib.util.find_spec("torchao"):
        rows.append(("artgen, int8", measure(ARTGEN_INT8, bf16_model)))
    with capsys.disabled():
        print(f"\n{bf16_model.name}, random weights, bf16 on the CPU, 2 steps at 256x256:")
        for name, result in rows:
            ratio = result["peak_mib"] / plain["peak_mib"]
            print(f"  {name:16} peak {result['peak_mib']:>6} MiB ({ratio:.2f}), {result['seconds']:>6} s")
    assert artgen["sha256"] == plain["sha256"]
    assert artgen["peak_mib"] <= MAX_MEMORY_RATIO * plain["peak_mib"]
    for _, result in rows[2:]:
        assert result["peak_mib"] < artgen["peak_mib"]
