"""Test that LoRAs saved by PEFT are described, and are compatible with their model."""

import json
from pathlib import Path

import pytest
import tiny_loras
from command_line import run

from artgen import registry
from artgen.registry import lora as lora_files


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_info_describes_a_lora(models: dict[str, Path], kind: str) -> None:
    path = tiny_loras.diffusers_lora(Path("style.safetensors"), models[kind], rank=3)
    found = json.loads(run("info", str(path), "--json").stdout)
    denoiser = "transformer" if kind == "sd3" else "unet"
    assert found["components"] == [denoiser, "text_encoder", *(["text_encoder_2"] if kind != "sd1" else [])]
    assert (found["kind"], found["format"], found["rank"], found["dtype"]) == ("lora", "diffusers", 3, "F32")
    assert found["sha256"] == registry.file_hash(path)
    assert found["autov3"] not in found["sha256"]


@pytest.mark.parametrize(
    ("kind", "lora_format"), [("sd1", "kohya"), ("sd1", "diffusers"), ("sdxl", "kohya"), ("sd3", "diffusers")]
)
def test_compatible_loras_are_accepted(models: dict[str, Path], kind: str, lora_format: str) -> None:
    make = tiny_loras.kohya_lora if lora_format == "kohya" else tiny_loras.diffusers_lora
    path = make(Path("style.safetensors"), models[kind])
    lora_files.check_compatible(lora_files.read_lora(path), registry.resolve_model(str(models[kind])))
