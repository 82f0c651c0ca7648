"""A Stable Diffusion 1.5 of its real size, with random weights: it loads from a folder and from one file, and draws.

Its peak memory is printed beside that of a plain diffusers script, and held to it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import original_layout
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from artgen.registry import configs

pytestmark = pytest.mark.slow

UNET_PARAMETERS = 859_520_964
ALLOWED = 1.15
"""artgen's peak memory over that of the plain script."""

DRAW = {"prompt": "a red fox in the snow", "steps": 2, "guidance_scale": 7.5, "seed": 7, "width": 256, "height": 256}

MEASURED = """
import hashlib, json, resource, sys, time
import torch
torch.set_num_threads(1)
began = time.monotonic()
{draw}
print(json.dumps({{
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "seconds": round(time.monotonic() - began, 1),
    "size": image.size,
    "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
    "levels": len(set(image.tobytes())),
}}))
"""

PLAIN = """
from diffusers import StableDiffusionPipeline
model, draw = sys.argv[1], json.loads(sys.argv[2])
pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
image = pipe(
    draw["prompt"], num_inference_steps=draw["steps"], guidance_scale=draw["guidance_scale"], width=draw["width"],
    height=draw["height"], generator=torch.Generator("cpu").manual_seed(draw["seed"]),
).images[0]
"""

PLAIN_FILE = PLAIN.replace(
    "StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)",
    "StableDiffusionPipeline.from_single_file(model, config=sys.argv[3], local_files_only=True, "
    "torch_dtype=torch.float32)",
)

OURS = """
from artgen import Txt2Img, generate
image = generate(Txt2Img(model=sys.argv[1], device="cpu", **json.loads(sys.argv[2]))).image
"""


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A folder and a single file with the same random weights, about 2 GiB each, deleted afterwards."""
    root = tmp_path_factory.mktemp("full-size")
    folder, file = root / "sd15", root / "sd15.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(root / "cache"))
        shutil.copytree(configs.assemble("sd1"), folder)
    torch.manual_seed(0)
    unet = _unet(folder / "unet" / "config.json")
    assert sum(weight.numel() for weight in unet.parameters()) == UNET_PARAMETERS
    vae = AutoencoderKL.from_config(json.loads((folder / "vae" / "config.json").read_text())).half()
    text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")).half()
    for name, module in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        module.save_pretrained(folder / name)
    original = original_layout.to_original_sd1(unet.state_dict(), vae.state_dict(), text.state_dict())
    save_file(original, file, metadata={"format": "pt"})
    del unet, vae, text, original, module
    yield folder, file
    shutil.rmtree(root)


def _unet(config: Path) -> UNet2DConditionModel:
    """Built without the slow default initialisation, in fp16."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads(config.read_text()))
    unet = unet.half().to_empty(device="cpu")
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.empty(weight.shape).uniform_(-0.03, 0.03))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    return unet


def measured(draw: str, model: Path, *more: Path) -> dict[str, Any]:
    words = [str(model), json.dumps(DRAW), *map(str, more)]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED.format(draw=draw), *words],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert found["size"] == [256, 256]
    assert found["levels"] > 10
    return found


def test_it_draws_from_a_folder_and_from_a_file_in_no_more_memory_than_diffusers(
    full_size: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = full_size
    theirs = measured(PLAIN, folder)
    ours = measured(OURS, folder)
    their_file = measured(PLAIN_FILE, file, folder)
    our_file = measured(OURS, file)
    with capsys.disabled():
        print("\nStable Diffusion 1.5, random weights, fp32 on the CPU, 2 steps at 256x256:")
        for name, found in (
            ("plain diffusers, folder", theirs),
            ("artgen, folder", ours),
            ("plain diffusers, file", their_file),
            ("artgen, file", our_file),
        ):
            print(f"  {name:24} peak {found['peak_mib']:>6} MiB, {found['seconds']:>6} s")
    assert ours["sha256"] == theirs["sha256"]
    assert our_file["sha256"] == their_file["sha256"] == theirs["sha256"]
    assert ours["peak_mib"] <= ALLOWED * theirs["peak_mib"]
    assert our_file["peak_mib"] <= ALLOWED * their_file["peak_mib"]
