"""Training end to end on tiny real models: what is learnt, what is left on the disk, and going on after a crash."""

import json
import os
import shutil
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
from safetensors.torch import load_file, save_file

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
    assert pipe.get_list_adapters().keys() >= {"unet", "text_encoder"}
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
    assert process.wait(timeout=300) == -signal.SIGKILL, "it was done before it could be killed"
    run("train", "pictures", *words, "-o", "killed.safetensors", "--resume")
    straight, killed = load_file("straight.safetensors"), load_file("killed.safetensors")
    assert straight.keys() == killed.keys()
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    assert losses("straight") == losses("killed")


def losses(name: str) -> list[str]:
    """The lines of the losses without the seconds."""
    return [line.rpartition(",")[0] for line in Path(f"{name}-training/loss.csv").read_text().splitlines()]


@pytest.mark.usefixtures("pictures")
def test_whole_weights_make_a_model(sd1: str) -> None:
    trained("-m", sd1, "--mode", "full", "-o", "whole", "--train-steps", "2", "--learning-rate", "0.01",
            "--snapshot-every", "2", "--snapshot-prompt", "a red fox", "--snapshot-prompt", "snow")  # fmt: skip
    run("txt2img", "a red fox", "-m", "whole", "--steps", "2", "--seed", "1", "-o", "after.png")
    run("txt2img", "a red fox", "-m", sd1, "--steps", "2", "--seed", "1", "-o", "before.png")
    assert Path("after.png").read_bytes() != Path("before.png").read_bytes()
    told = json.loads(Path("whole/artgen.json").read_text())["training"]
    assert told["kind"] == "full"
    steps = sorted(path.name for path in Path("whole-training/samples").iterdir())
    assert steps == ["step-0000000", "step-0000002"]
    first, second = (Path(f"whole-training/samples/{step}/1.png").read_bytes() for step in steps)
    assert first != second
    for name in ("samples.png", "loss.png"):
        with Image.open(Path("whole-training", name)) as sheet:
            assert min(sheet.size) > 100
    assert "datasheet" in Path("whole-training/datasheet.md").read_text().casefold()


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("target", ["decoder", "all"])
def test_an_autoencoder_comes_closer_to_its_pictures(sd1: str, target: str) -> None:
    words = ("--mode", "vae", "--target", target, "--learning-rate", "0.01", "--train-steps", "30")
    trained("-m", sd1, "-o", "better", *words, "--snapshot-every", "30", "--perceptual-weight", "0.05")
    before, after = rebuilt(sd1), rebuilt("better")
    assert [one["image"] for one in before] == [one["image"] for one in after]
    assert np.mean([one["psnr"] for one in after]) > np.mean([one["psnr"] for one in before]) + 0.5
    encoders = [
        load_file(Path(model, "vae", "diffusion_pytorch_model.safetensors"))["encoder.conv_in.weight"]
        for model in (sd1, "better")
    ]
    assert torch.equal(*encoders) is (target == "decoder")
    run("txt2img", "a fox", "-m", "better", "--steps", "2", "--seed", "1", "-o", "drawn.png")
    assert Path("better-training/samples.png").exists()


def rebuilt(model: str) -> list[dict[str, Any]]:
    out = run("reconstruct", "pictures", "-m", model, "-o", "sheet.png", "--overwrite", "--json").stdout
    return [json.loads(line) for line in out.splitlines()]


def test_reconstruct_takes_any_size_and_draws_a_sheet(sd1: str) -> None:
    Path("in").mkdir()
    for size in ((33, 17), (8, 90), (1, 1)):
        Image.new("RGB", size, "orange").save(f"in/{size[0]}.png")
    result = run("reconstruct", "in", "in/33.png", "-m", sd1, "-o", "out/sheet.png")
    assert result.stdout.split() == ["out/sheet.png"]
    assert result.stderr.count("PSNR") == 5
    assert "exists already" in run("reconstruct", "in", "-m", sd1, "-o", "out/sheet.png", code=74).stderr


@pytest.mark.usefixtures("pictures")
def test_two_processes_learn_together(sd1: str) -> None:
    """With gloo on this machine: each sees its own half of every batch, and one result comes out."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
              "--rdzv-endpoint", "127.0.0.1:0", "-m", "artgen"]  # fmt: skip
    words = ["train", "pictures", *SMALL, "-m", sd1, "-o", "two.safetensors", "--train-steps", "3", "--device", "cpu",
             "--learning-rate", "0.001"]  # fmt: skip
    made = subprocess.run([*launch, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                          timeout=600)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["two.safetensors"]
    assert "2 processes" in made.stderr
    # One process that puts two batches into each step sees the same pictures, noise and times.
    trained("-m", sd1, "-o", "one.safetensors", "--train-steps", "3", "--gradient-accumulation-steps", "2",
            "--learning-rate", "0.001")  # fmt: skip
    one, two = load_file("one.safetensors"), load_file("two.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.usefixtures("pictures")
def test_ctrl_c_saves_and_resume_goes_on(sd1: str) -> None:
    words = [*SMALL, "-m", sd1, "--train-steps", "400", "--checkpoint-every", "400"]
    process = subprocess.Popen(
        [sys.executable, "-m", "artgen", "train", "pictures", *words, "-o", "cut.safetensors"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    losses_file = Path("cut-training/loss.csv")
    while not losses_file.exists() or losses_file.read_text().count("\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume goes on" in said
    (checkpoint,) = Path("cut-training/checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step-"))
    assert 3 <= step < 400
    assert not Path("cut.safetensors").exists()
    # Other settings are refused by name; those that change nothing in the result are not.
    refused = run("train", "pictures", *words, "-o", "cut.safetensors", "--resume", "--learning-rate", "0.5", code=2)
    assert "learning_rate was 0.0003 and is 0.5" in refused.stderr
    Path("pictures/0.txt").write_text("another caption")
    refused = run("train", "pictures", *words, "-o", "cut.safetensors", "--resume", code=2)
    assert "captions" in refused.stderr


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere", "-o", "x"), 3, "nowhere"),
        (("empty", "-o", "x"), 3, "no picture"),
        (("pictures",), 2, "where its result goes"),
        (("-o", "x"), 2, "needs a folder"),
        (("pictures", "-o", "taken.safetensors"), 74, "exists already"),
        (("pictures", "-o", "x", "--resume"), 3, "no checkpoint"),
        (("pictures", "-o", "x", "--learning-rate", "0"), 2, "learns nothing"),
        (("pictures", "-o", "x", "--learning-rate", "nan"), 2, "learning"),
        (("pictures", "-o", "x", "--rank", "0"), 2, "rank"),
        (("pictures", "-o", "x", "--mode", "vae", "--text-encoder"), 2, "does not go with"),
        (("pictures", "-o", "x", "--mode", "vae", "--target", "linear"), 2, "does not go with"),
        (("pictures", "-o", "x", "--target", "decoder"), 2, "does not go with"),
        (("pictures", "-o", "x", "--lr-warmup-steps", "9", "--train-steps", "5"), 2, "warm-up"),
        (("pictures", "-o", "x", "--vgg", "pictures/0.png"), 3, "not a safetensors file"),
        (("pictures", "-o", "x", "-m", "denoiser"), 4, "pixel models cannot be trained"),
        (("pictures", "-o", "/proc/x"), 74, "cannot be written"),
        (("pictures", "-o", "x", "--device", "cuda"), 2, "no CUDA device"),
    ],
)
def test_refused_before_torch_is_imported(words: tuple[str, ...], code: int, said: str) -> None:
    Path("empty").mkdir()
    Path("taken.safetensors").touch()
    script = (
        "import sys; from artgen.__main__ import run\n"
        "try: run()\nexcept SystemExit as e: code = e.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(code)"
    )
    asked = ["train", *words] if "-m" in words else ["train", *words, "-m", "tiny"]
    ran = subprocess.run([sys.executable, "-c", script.replace("run()", "run()", 1), *asked], capture_output=True,
                         text=True, check=False, timeout=600)  # fmt: skip
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr
    assert said in ran.stderr


@pytest.mark.parametrize("name", ["sd3", "sd1-inpaint"])
def test_models_that_are_not_trained_are_refused(models: dict[str, Path], name: str, pictures: Path) -> None:
    said = run("train", str(pictures), "-m", str(models[name]), "-o", "x", code=4).stderr
    assert "cannot be trained" in said or "inpainting" in said


@pytest.mark.usefixtures("pictures")
def test_a_plan_is_told_without_training(sd1: str) -> None:
    result = run("train", "pictures", *SMALL, "-m", sd1, "-o", "x", "--dry-run", "--json")
    told = json.loads(result.stdout)
    assert told["rank"] == 4
    assert len(told["pictures"]) == 5
    assert "5 pictures" in result.stderr
    assert not Path("x-training").exists()


@pytest.mark.usefixtures("pictures")
def test_a_loss_that_is_no_number_ends_it(sd1: str) -> None:
    shutil.copytree(sd1, "broken")
    file = Path("broken/unet/diffusion_pytorch_model.safetensors")
    tensors = load_file(file)
    tensors["conv_out.bias"][0] = float("nan")
    save_file(tensors, file)
    assert "step 1 is not a finite number" in trained("-m", "broken", "-o", "x", code=9)
    assert not Path("x.safetensors").exists()
