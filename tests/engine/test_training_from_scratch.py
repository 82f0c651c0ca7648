"""Test the training of pixel-space models from random weights: results, exact resuming, defaults and conflicts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

from artgen.engine.diffusion.training_schedule import read_noise_schedule
from artgen.engine.training.losses import PixelDenoiserLoss
from artgen.errors import UsageError
from artgen.jobs import scratch_model

SMALL = ("--mode", "scratch", "--size", "16", "--channels", "32", "--batch-size", "2", "--seed", "3")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _image_folder() -> None:
    """Create four noise images of two shapes, one license, and a caption."""
    folder = Path("images")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        size = (16, 16, 3) if number % 2 else (20, 40, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a fox")
    (folder / "provenance.jsonl").write_text('{"file_name": "*", "license": "CC0-1.0"}\n')


def train(*options: str, code: int = 0) -> str:
    return run("train", "images", *SMALL, *options, code=code).output


def test_result_is_a_plain_diffusers_folder_that_other_commands_accept() -> None:
    train("-o", "art", "--train-steps", "2", "--snapshot-every", "2", "--require-license")
    pipe = DDPMPipeline.from_pretrained("art")
    assert pipe.unet.config.sample_size == 16
    assert pipe.scheduler.config.beta_schedule == "linear"
    files = {path.relative_to("art").as_posix() for path in Path("art").rglob("*") if path.is_file()}
    assert files == {
        "artgen.json", "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", WEIGHTS
    }  # fmt: skip
    record = json.loads(Path("art/artgen.json").read_text())["training"]
    assert (record["kind"], record["steps"], record["images"]) == ("scratch", 2, 4)
    assert len(record["datasheet_sha256"]) == 64
    assert "CC0-1.0" in Path("art-training/datasheet.md").read_text()
    assert {path.name for path in Path("art-training/samples").iterdir()} == {"step-0000000", "step-0000002"}
    Image.effect_noise((40, 36), 60).convert("RGB").save("noisy.png")
    run("denoise", "noisy.png", "-m", "art", "--sigma", "20", "-o", "clean.png")
    assert Image.open("clean.png").size == (40, 36)
    assert "score" in json.loads(run("anomaly", "noisy.png", "-m", "art", "--json").stdout)


@pytest.mark.parametrize("ema_decay", ["0", "0.9"])
def test_result_has_the_average_of_the_weights(ema_decay: str) -> None:
    train("-o", "art", "--train-steps", "3", "--snapshot-every", "0", "--ema-decay", ema_decay)
    checkpoint = Path("art-training/checkpoints/step-0000003")
    name = "average" if ema_decay != "0" else "weights"
    expected = load_file(checkpoint / f"{name}.safetensors")
    found = load_file(f"art/{WEIGHTS}")
    assert all(torch.equal(found[key], expected[f"unet.{key}"]) for key in found)


def test_killed_and_resumed_training_equals_uninterrupted() -> None:
    """Kill the process after step 4 with SIGKILL and resume. The results and the losses are bit-identical."""
    options = ("--train-steps", "12", "--checkpoint-every", "4", "--snapshot-every", "6", "--flip", "--crop", "random")
    train("-o", "uninterrupted", *options, "--gradient-accumulation-steps", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "artgen", "train", "images", *SMALL, *options, "--gradient-accumulation-steps", "2",
         "-o", "killed"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not Path("killed-training/checkpoints/step-0000004").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=300) == -signal.SIGKILL, "the training finished before the signal"
    assert not Path("killed").exists()
    train("-o", "killed", *options, "--gradient-accumulation-steps", "2", "--resume")
    uninterrupted, killed = Path("uninterrupted", WEIGHTS).read_bytes(), Path("killed", WEIGHTS).read_bytes()
    assert uninterrupted == killed
    assert losses("uninterrupted") == losses("killed")
    for sample in Path("uninterrupted-training/samples").rglob("*.png"):
        other = Path(str(sample).replace("uninterrupted", "killed"))
        assert sample.read_bytes() == other.read_bytes()


def losses(name: str) -> list[str]:
    """Return the lines of the loss file without the seconds."""
    return [line.rpartition(",")[0] for line in Path(f"{name}-training/loss.csv").read_text().splitlines()]


def test_seed_selects_the_initial_weights() -> None:
    options = ("--train-steps", "1", "--snapshot-every", "0")
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        train("-o", name, *options, "--seed", seed)
    first, same, other = (Path(name, WEIGHTS).read_bytes() for name in "abc")
    assert first == same != other


def test_resume_refuses_another_network() -> None:
    train("-o", "art", "--train-steps", "1", "--snapshot-every", "0")
    for options in (("--channels", "64"), ("--size", "24"), ("--ema-decay", "0.5")):
        assert "other settings" in train("-o", "art", "--train-steps", "1", "--resume", *options, code=2)


def test_dry_run_prints_the_defaults() -> None:
    result = run("train", "images", "--mode", "scratch", "--min-side", "1", "-o", "x", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    expected = {"resolution": 32, "channels": 64, "train_steps": 10_000, "train_batch_size": 32, "ema_decay": 0.9999,
                "learning_rate": 0.0002, "snr_gamma": 0, "model": None}  # fmt: skip
    assert {name: plan[name] for name in expected} == expected
    assert not plan.keys() & {"rank", "alpha", "target", "caption_dropout", "captions", "perceptual_weight"}
    assert "a new pixel-space model from random weights on 4 images of 32x32 pixels." in result.stderr
    assert list(Path().glob("x*")) == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("-m", "tiny"), 2, "Cannot combine --model with --mode scratch"),
        (("--rank", "4"), 2, "Cannot combine --rank with --mode scratch"),
        (("--alpha", "4"), 2, "--alpha"),
        (("--target", "all"), 2, "--target"),
        (("--text-encoder",), 2, "--text-encoder"),
        (("--trigger", "zzz"), 2, "--trigger"),
        (("--caption-dropout", "0"), 2, "--caption-dropout"),
        (("--caption-template", "a {stem}"), 2, "--caption-template"),
        (("--snapshot-prompt", "a fox"), 2, "--snapshot-prompt"),
        (("--perceptual-weight", "0.1"), 2, "--perceptual-weight"),
        (("--format", "kohya"), 2, "--format"),
        (("--channels", "48"), 2, "channels must be a multiple of 32, not 48"),
        (("--size", "20"), 2, "must be a multiple of 8"),
        (("--size", "512"), 2, "the maximum is 256x256"),
        (("--size", "15"), 2, "resolution must be"),
        (("--learning-rate", "0"), 2, "would not change"),
        (("-o", "art.safetensors"), 2, "it is a model folder"),
    ],
)
def test_settings_without_effect_are_refused(options: tuple[str, ...], code: int, message: str) -> None:
    arguments = ("-o", "x", "--mode", "scratch", *options)
    result = run("train", "images", *arguments, code=code)
    assert message in result.stderr
    assert not Path("x-training").exists()


def test_channels_are_refused_by_other_modes() -> None:
    assert "only --mode scratch" in run("train", "images", "-o", "x", "-m", "tiny", "--channels", "64", code=2).stderr


def test_default_model_of_the_user_is_ignored_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_MODEL", "tiny")
    result = run("train", "images", *SMALL, "-o", "x", "--dry-run")
    assert "The default of model from the environment or a configuration file is ignored" in result.stderr


@pytest.mark.parametrize("size", range(16, 257, 8))
def test_network_of_each_size_has_the_size_of_the_images(size: int) -> None:
    scratch_model.check_size(size)
    with torch.device("meta"):
        network = UNet2DModel(**scratch_model.unet_config(size, 32))
        output = network(torch.zeros(1, 3, size, size), torch.zeros(1)).sample
    assert output.shape == (1, 3, size, size)
    for wrong in (size + 1, size + 7):
        with pytest.raises(UsageError):
            scratch_model.check_size(wrong)


def test_loss_is_the_squared_error_of_the_noise() -> None:
    """Compare with diffusers' noise schedule and `mse_loss`."""
    torch.manual_seed(0)
    unet = UNet2DModel(**scratch_model.unet_config(16, 32)).eval()
    scheduler = DDPMScheduler(**scratch_model.scheduler_config())
    images, noise = torch.rand(3, 3, 16, 16) * 2 - 1, torch.randn(3, 3, 16, 16)
    timesteps = torch.tensor([0, 500, 999])
    with torch.no_grad():
        predicted = unet(scheduler.add_noise(images, noise, timesteps), timesteps).sample
        loss = PixelDenoiserLoss(unet, read_noise_schedule(scheduler, "x"), 0.0)(images, noise, timesteps)["loss"]
    assert torch.allclose(loss, torch.nn.functional.mse_loss(predicted, noise), rtol=1e-5)
