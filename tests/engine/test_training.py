"""Test training end to end with tiny real models: results, output files, and resuming after a crash."""

import hashlib
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

from artgen.registry.training_provenance import DatasheetCheck, check_datasheet, read_training_provenance

SMALL = ("--rank", "4", "--batch-size", "2", "--snapshot-every", "0", "--resolution", "32", "--flip", "--seed", "3")


@pytest.fixture
def image_folder() -> Path:
    """Create five noise images of two sizes with captions."""
    folder = Path("images")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        size = (32, 32, 3) if number % 2 else (24, 48, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {['red', 'blue', 'small', 'big', 'snow'][number]} fox")
    return folder


def train(*options: str, code: int = 0) -> str:
    return run("train", "images", *SMALL, *options, code=code).output


def metadata(path: str) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.mark.usefixtures("image_folder")
@pytest.mark.parametrize(("name", "cls"), [("sd1", StableDiffusionPipeline), ("sdxl", StableDiffusionXLPipeline)])
@pytest.mark.parametrize("lora_format", ["diffusers", "kohya"])
def test_diffusers_loads_the_trained_lora(models: dict[str, Path], name: str, cls: Any, lora_format: str) -> None:
    train("-m", str(models[name]), "-o", "mine.safetensors", "--train-steps", "3", "--format", lora_format,
            "--text-encoder", "--trigger", "zzz", "--target", "all" if name == "sd1" else "attention",
            "--alpha", "8", "--learning-rate", "0.01")  # fmt: skip
    pipe = cls.from_pretrained(models[name])
    before = generate(pipe)
    pipe.load_lora_weights("mine.safetensors")
    assert pipe.get_list_adapters().keys() >= {"unet", "text_encoder"}
    assert np.abs(generate(pipe) - before).max() > 0.01
    header = metadata("mine.safetensors")
    record = json.loads(header["artgen"])
    assert record["trigger"] == header["modelspec.trigger_phrase"] == "zzz"
    assert record["steps"] == 3
    assert len(record["base_model_hash"]) == len(record["datasheet_sha256"]) == 64


@pytest.mark.usefixtures("image_folder")
def test_results_contain_the_provenance_of_their_images_and_of_their_base_model(sd1: str) -> None:
    """Train a model, then a LoRA on it with other images; both have the hash of the datasheet and the licenses."""
    rows = [{"file_name": "*", "license": "CC0-1.0"}, {"file_name": "1.png", "license": "MIT"}]
    Path("images/provenance.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ("--train-steps", "1")
    train("-m", sd1, "--mode", "full", "-o", "full", *options)
    for name in ("0", "2"):
        Path(f"images/{name}.png").unlink()
    train("-m", "full", "-o", "mine.safetensors", *options, "--licences", "CC0-1.0", "--require-licence")
    provenance = read_training_provenance(Path("mine.safetensors"))
    base = read_training_provenance(Path("full"))
    assert provenance
    assert base
    assert (provenance.licenses, provenance.num_images) == ({"CC0-1.0": 2}, 2)
    assert (base.licenses, base.num_images, base.base) == ({"CC0-1.0": 4, "MIT": 1}, 5, None)
    assert provenance.base == base
    digest = hashlib.sha256(Path("mine-training/datasheet.json").read_bytes()).hexdigest()
    assert provenance.datasheet_sha256 == digest
    info = json.loads(run("info", "mine.safetensors", "--json").stdout)
    assert (info["datasheet_sha256"], info["training_licenses"]) == (digest, {"CC0-1.0": 2})
    assert info["base_training"]["licenses"] == {"CC0-1.0": 4, "MIT": 1}
    assert "training licenses: CC0-1.0: 4, MIT: 1" in run("models", "show", "./full").stdout
    assert check_datasheet(Path("mine.safetensors"), provenance).is_equal is True
    with Path("mine-training/datasheet.json").open("a") as file:
        file.write(" ")
    assert check_datasheet(Path("mine.safetensors"), provenance).is_equal is False
    assert check_datasheet(Path("full"), base) == DatasheetCheck(Path("full-training/datasheet.json"), True)


def generate(pipe: Any) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    image: np.ndarray = pipe(
        "a red fox", num_inference_steps=2, width=32, height=32, generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]  # fmt: skip
    return image


@pytest.mark.slow
@pytest.mark.usefixtures("image_folder")
def test_resumed_training_equals_uninterrupted(sd1: str) -> None:
    """Train 40 steps; train again, kill the process after step 20, and resume. The weights are bit-identical."""
    options = (*SMALL, "-m", sd1, "--train-steps", "40", "--checkpoint-every", "20", "--ema-decay", "0.9",
             "--text-encoder", "--perceptual-weight", "0.1", "--gradient-accumulation-steps", "2")  # fmt: skip
    run("train", "images", *options, "-o", "uninterrupted.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "artgen", "train", "images", *options, "-o", "killed.safetensors"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = Path("killed-training/checkpoints")
    while not (checkpoints / "step-0000020").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=300) == -signal.SIGKILL, "the training finished before the signal"
    run("train", "images", *options, "-o", "killed.safetensors", "--resume")
    uninterrupted, killed = load_file("uninterrupted.safetensors"), load_file("killed.safetensors")
    assert uninterrupted.keys() == killed.keys()
    assert all(torch.equal(uninterrupted[name], killed[name]) for name in uninterrupted)
    assert losses("uninterrupted") == losses("killed")


def losses(name: str) -> list[str]:
    """Return the lines of the loss file without the seconds."""
    return [line.rpartition(",")[0] for line in Path(f"{name}-training/loss.csv").read_text().splitlines()]


@pytest.mark.usefixtures("image_folder")
def test_full_training_creates_a_model_folder(sd1: str) -> None:
    output = train("-m", sd1, "--mode", "full", "-o", "full", "--train-steps", "2", "--learning-rate", "0.01",
            "--snapshot-every", "2", "--snapshot-prompt", "a red fox", "--snapshot-prompt", "(snow:1.2)")  # fmt: skip
    assert "The snapshot prompt is plain text. Without effect: the weight of 'snow'." in output
    run("txt2img", "a red fox", "-m", "full", "--steps", "2", "--seed", "1", "-o", "after.png")
    run("txt2img", "a red fox", "-m", sd1, "--steps", "2", "--seed", "1", "-o", "before.png")
    assert Path("after.png").read_bytes() != Path("before.png").read_bytes()
    record = json.loads(Path("full/artgen.json").read_text())["training"]
    assert record["kind"] == "full"
    steps = sorted(path.name for path in Path("full-training/samples").iterdir())
    assert steps == ["step-0000000", "step-0000002"]
    first, second = (Path(f"full-training/samples/{step}/1.png").read_bytes() for step in steps)
    assert first != second
    with Image.open("full-training/samples.png") as sheet:
        assert min(sheet.size) > 100
    assert "datasheet" in Path("full-training/datasheet.md").read_text().casefold()


@pytest.mark.usefixtures("image_folder")
@pytest.mark.parametrize("target", ["decoder", pytest.param("all", marks=pytest.mark.slow)])
def test_autoencoder_training_improves_reconstructions(sd1: str, target: str) -> None:
    options = ("--mode", "vae", "--target", target, "--learning-rate", "0.01", "--train-steps", "30")
    train("-m", sd1, "-o", "better", *options, "--snapshot-every", "30", "--perceptual-weight", "0.05")
    before, after = reconstruct(sd1), reconstruct("better")
    assert [row["image"] for row in before] == [row["image"] for row in after]
    assert np.mean([row["psnr"] for row in after]) > np.mean([row["psnr"] for row in before]) + 0.5
    encoders = [
        load_file(Path(model, "vae", "diffusion_pytorch_model.safetensors"))["encoder.conv_in.weight"]
        for model in (sd1, "better")
    ]
    assert torch.equal(*encoders) is (target == "decoder")
    run("txt2img", "a fox", "-m", "better", "--steps", "2", "--seed", "1", "-o", "fox.png")
    assert Path("better-training/samples.png").exists()


def reconstruct(model: str) -> list[dict[str, Any]]:
    out = run("reconstruct", "images", "-m", model, "-o", "sheet.png", "--overwrite", "--json").stdout
    return [json.loads(line) for line in out.splitlines()]


def test_reconstruct_accepts_any_image_size_and_writes_a_sheet(sd1: str) -> None:
    Path("in").mkdir()
    for size in ((33, 17), (8, 90), (1, 1)):
        Image.new("RGB", size, "orange").save(f"in/{size[0]}.png")
    result = run("reconstruct", "in", "in/33.png", "-m", sd1, "-o", "out/sheet.png")
    assert result.stdout.split() == ["out/sheet.png"]
    assert result.stderr.count("PSNR") == 5
    assert "exists already" in run("reconstruct", "in", "-m", sd1, "-o", "out/sheet.png", code=74).stderr


@pytest.mark.slow
@pytest.mark.usefixtures("image_folder")
def test_two_processes_give_the_result_of_one_process(sd1: str) -> None:
    """Train with two gloo processes. Each process uses its half of the batches of a step."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
              "--rdzv-endpoint", "127.0.0.1:0", "-m", "artgen"]  # fmt: skip
    command = ["train", "images", *SMALL, "-m", sd1, "-o", "two.safetensors", "--train-steps", "3", "--device", "cpu",
             "--learning-rate", "0.001"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    completed = subprocess.run([*launch, *command], env=environment, capture_output=True, text=True, timeout=600)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.split() == ["two.safetensors"]
    assert "2 processes" in completed.stderr
    # One process with two batches per step uses the same images, noise and timesteps.
    train("-m", sd1, "-o", "one.safetensors", "--train-steps", "3", "--gradient-accumulation-steps", "2",
            "--learning-rate", "0.001")  # fmt: skip
    one, two = load_file("one.safetensors"), load_file("two.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("image_folder")
def test_ctrl_c_saves_a_checkpoint_that_requires_the_same_settings(sd1: str) -> None:
    options = [*SMALL, "-m", sd1, "--train-steps", "400", "--checkpoint-every", "400"]
    process = subprocess.Popen(
        [sys.executable, "-m", "artgen", "train", "images", *options, "-o", "cut.safetensors"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    losses_file = Path("cut-training/loss.csv")
    while not losses_file.exists() or losses_file.read_text().count("\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume" in stderr
    (checkpoint,) = Path("cut-training/checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step-"))
    assert 3 <= step < 400
    assert not Path("cut.safetensors").exists()
    result = run("train", "images", *options, "-o", "cut.safetensors", "--resume", "--learning-rate", "0.5", code=2)
    assert "learning_rate was 0.0003 and is 0.5" in result.stderr
    Path("images/0.txt").write_text("another caption")
    result = run("train", "images", *options, "-o", "cut.safetensors", "--resume", code=2)
    assert "captions" in result.stderr


@pytest.mark.usefixtures("image_folder")
def test_checkpoint_with_former_setting_names_is_resumed(sd1: str) -> None:
    train("-m", sd1, "-o", "old.safetensors", "--train-steps", "2")
    Path("old.safetensors").unlink()
    state_file = Path("old-training/checkpoints/step-0000002/state.json")
    state = json.loads(state_file.read_text())
    settings = state["settings"]
    assert settings.pop("mode") == "lora"
    settings |= {"train_task": "diffusion", "full": False}
    for name, former_name in (
        ("on_bad_image", "unusable"),
        ("licenses", "licences"),
        ("require_license", "require_licence"),
        ("images", "pictures"),  # current name, name in checkpoints of earlier versions
    ):
        settings[former_name] = settings.pop(name)
    state_file.write_text(json.dumps(state))
    train("-m", sd1, "-o", "old.safetensors", "--train-steps", "2", "--resume")
    assert Path("old.safetensors").exists()


@pytest.mark.usefixtures("image_folder")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "-o", "x"), 3, "nowhere"),
        (("empty", "-o", "x"), 3, "contains no image"),
        (("images",), 2, "--output is missing"),
        (("-o", "x"), 2, "the folder of images is missing"),
        (("images", "-o", "taken.safetensors"), 74, "exists already"),
        (("images", "-o", "x", "--resume"), 3, "no checkpoint"),
        (("images", "-o", "x", "--learning-rate", "0"), 2, "would not change"),
        (("images", "-o", "x", "--learning-rate", "nan"), 2, "learning"),
        (("images", "-o", "x", "--rank", "0"), 2, "rank"),
        (("images", "-o", "x", "--mode", "vae", "--text-encoder"), 2, "Cannot combine"),
        (("images", "-o", "x", "--mode", "vae", "--target", "linear"), 2, "Cannot combine"),
        (("images", "-o", "x", "--target", "decoder"), 2, "Cannot combine"),
        (("images", "-o", "x", "--lr-warmup-steps", "9", "--train-steps", "5"), 2, "Cannot warm up"),
        (("images", "-o", "x", "--vgg", "images/0.png"), 3, "not a safetensors file"),
        (("images", "-o", "x", "-m", "denoiser"), 4, "Unconditional diffusion (DDIM) models are not supported"),
        (("images", "-o", "/proc/x"), 74, "Cannot write"),
        (("images", "-o", "x", "--device", "cuda"), 2, "Cannot use CUDA"),
    ],
)
def test_invalid_requests_fail_before_torch_is_imported(arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("empty").mkdir()
    Path("taken.safetensors").touch()
    script = (
        "import sys; from artgen.__main__ import run\n"
        "try: run()\nexcept SystemExit as e: code = e.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(code)"
    )
    command = ["train", *arguments] if "-m" in arguments else ["train", *arguments, "-m", "tiny"]
    completed = subprocess.run([sys.executable, "-c", script, *command], capture_output=True,
                         text=True, check=False, timeout=600)  # fmt: skip
    assert (completed.returncode, "Traceback" in completed.stderr) == (code, False), completed.stderr
    assert message in completed.stderr


@pytest.mark.parametrize("name", ["sd3", "sd1-inpaint"])
def test_unsupported_models_are_rejected(models: dict[str, Path], name: str, image_folder: Path) -> None:
    stderr = run("train", str(image_folder), "-m", str(models[name]), "-o", "x", code=4).stderr
    assert "Cannot train" in stderr or "inpainting" in stderr


@pytest.mark.usefixtures("image_folder")
def test_dry_run_prints_the_plan_and_trains_nothing(sd1: str) -> None:
    result = run("train", "images", *SMALL, "-m", sd1, "-o", "x", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert plan["rank"] == 4
    assert len(plan["images"]) == 5
    assert "5 of 5 " in result.stderr
    assert not Path("x-training").exists()


@pytest.mark.usefixtures("image_folder")
def test_nan_loss_stops_the_training(sd1: str) -> None:
    shutil.copytree(sd1, "broken")
    file = Path("broken/unet/diffusion_pytorch_model.safetensors")
    tensors = load_file(file)
    tensors["conv_out.bias"][0] = float("nan")
    save_file(tensors, file)
    assert "the loss of step 1 is NaN or infinite" in train("-m", "broken", "-o", "x", code=9)
    assert not Path("x.safetensors").exists()
