"""Training end to end on tiny real models: what is learnt, what is left on the disk, and going on after a crash."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

SMALL = ("--rank", "4", "--batch-size", "2", "--snapshot-every", "0", "--resolution", "32", "--flip", "--seed", "3")


@pytest.fixture
def pictures() -> Path:
    """Five striped pictures of two shapes with captions."""
    folder = Path("pictures")
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        size = (32, 32, 3) if number % 2 else (24, 48, 3)
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {['red', 'blue', 'small', 'big', 'snow'][number]} fox")
    return folder


def trained(*words: str, code: int = 0) -> str:
    return run("train", "pictures", *SMALL, *words, code=code).output


def metadata(path: str) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(("name", "cls"), [("sd1", StableDiffusionPipeline), ("sdxl", StableDiffusionXLPipeline)])
@pytest.mark.parametrize("names", ["diffusers", "kohya"])
def test_other_tools_load_the_result(models: dict[str, Path], name: str, cls: Any, names: str) -> None:
    trained("-m", str(models[name]), "-o", "mine.safetensors", "--train-steps", "3", "--format", names,
            "--text-encoder", "--trigger", "zzz", "--target", "all" if name == "sd1" else "attention",
            "--alpha", "8", "--learning-rate", "0.01")  # fmt: skip
    pipe = cls.from_pretrained(models[name])
    before = drawn(pipe)
    pipe.load_lora_weights("mine.safetensors")
    adapted = {module for part in pipe.get_list_adapters() for module in [part]}
    assert adapted >= {"unet", "text_encoder"}
    assert np.abs(drawn(pipe) - before).max() > 0.01
    facts = metadata("mine.safetensors")
    told = json.loads(facts["artgen"])
    assert told["trigger"] == facts["modelspec.trigger_phrase"] == "zzz"
    assert told["steps"] == 3
    assert len(told["base_model_hash"]) == len(told["datasheet_sha256"]) == 64


def drawn(pipe: Any) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    found: np.ndarray = pipe(
        "a red fox", num_inference_steps=2, width=32, height=32, generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]  # fmt: skip
    return found


@pytest.mark.usefixtures("pictures")
def test_killed_and_resumed_equals_straight(sd1: str) -> None:
    """40 steps straight, and 20, a SIGKILL somewhere behind, and the rest: the same weights, bit for bit."""
    words = (*SMALL, "-m", sd1, "--train-steps", "40", "--checkpoint-every", "20", "--ema-decay", "0.9",
             "--text-encoder", "--perceptual-weight", "0.1", "--gradient-accumulation-steps", "2")  # fmt: skip
    run("train", "pictures", *words, "-o", "straight.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "artgen", "train", "pictures", *words, "-o", "killed.safetensors"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = Path("killed-training/checkpoints")
    while not (checkpoints / "step-0000020").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    if Path("killed.safetensors").exists():
        pytest.fail("it was done before it could be killed")
    run("train", "pictures", *words, "-o", "killed.safetensors", "--resume")
    straight, killed = load_file("straight.safetensors"), load_file("killed.safetensors")
    assert straight.keys() == killed.keys()
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    assert losses("straight") == losses("killed")


def losses(name: str) -> list[str]:
    """The lines of the losses without the seconds."""
    return [line.rpartition(",")[0] for line in Path(f"{name}-training/loss.csv").read_text().splitlines()]
