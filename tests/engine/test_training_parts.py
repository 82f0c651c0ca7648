"""Test the parts of a training: noise schedule, losses, learning rates, batch order, latent cache and checkpoints."""

import contextlib
import itertools
import json
import os
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from artgen import registry
from artgen.engine.diffusion.noise_schedule import add_noise, predict_x0, training_target
from artgen.engine.diffusion.training_schedule import read_noise_schedule
from artgen.engine.sampling.vae import encode_images, unscale_latents
from artgen.engine.training import batch_order, checkpoints, loss_log, perceptual, setup, tensorboard
from artgen.engine.training.ema import EMA
from artgen.engine.training.loop import TrainStep
from artgen.engine.training.lr_schedule import learning_rate_at
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.events import no_op
from artgen.jobs import training_conflicts, training_layout, training_plan
from artgen.spec.settings import (
    CheckpointSettings,
    DatasetSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
)

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def scheduler(prediction: str, zero: bool = False) -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction,
        rescale_betas_zero_snr=zero, clip_sample=False,
    )  # fmt: skip


def latents(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("zero", [False, True])
def test_noisy_latents_and_targets_equal_diffusers(prediction: str, zero: bool) -> None:
    reference = scheduler(prediction, zero)
    schedule = read_noise_schedule(reference, "a model")
    clean, noise, timesteps = latents(1), latents(2), torch.tensor([0, 300, 700, 999])
    level = schedule.level_at(timesteps)
    noisy = add_noise(clean, noise, level)
    torch.testing.assert_close(noisy, reference.add_noise(clean, noise, timesteps))
    velocity = reference.get_velocity(clean, noise, timesteps)
    target = training_target(clean, noise, level, prediction)
    torch.testing.assert_close(target, {"epsilon": noise, "v_prediction": velocity, "sample": clean}[prediction])
    # With zero terminal SNR the last timestep is pure noise, and epsilon does not determine x0.
    known = slice(0, 3) if zero and prediction == "epsilon" else slice(0, 4)
    x0_pred = predict_x0(target, noisy, level, prediction)
    torch.testing.assert_close(x0_pred[known], clean[known], atol=1e-3, rtol=1e-3)


def test_selected_gpu_is_not_used_by_later_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    with setup.select_accelerate_device("cuda:1"):
        assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cuda:1"
    with setup.select_accelerate_device("cuda"):
        assert "ACCELERATE_TORCH_DEVICE" not in os.environ
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cuda:3")  # set by the user
    with setup.select_accelerate_device("cuda:1"):
        pass
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cuda:3"


def test_flow_matching_interpolates_linearly_and_prefers_middle_timesteps() -> None:
    schedule = read_noise_schedule(FlowMatchEulerDiscreteScheduler(), "a model")
    clean, noise, timesteps = latents(1), latents(2), torch.tensor([0, 300, 700, 999])
    level = schedule.level_at(timesteps)
    noisy = add_noise(clean, noise, level)
    torch.testing.assert_close(noisy[3], noise[3])
    x0_pred = predict_x0(training_target(clean, noise, level, "flow"), noisy, level, "flow")
    torch.testing.assert_close(x0_pred, clean, atol=1e-5, rtol=1e-4)
    sampled = schedule.sample_timesteps(4000, torch.Generator().manual_seed(0)).float()
    assert 480 < sampled.mean() < 520
    assert sampled.std() < 230  # 289 for a uniform distribution


@pytest.mark.parametrize(("prediction", "divisor"), [("epsilon", "snr"), ("v_prediction", "snr + 1"), ("sample", "1")])
def test_min_snr_weights_equal_the_paper(prediction: str, divisor: str) -> None:
    schedule = read_noise_schedule(scheduler(prediction), "a model")
    timesteps = torch.tensor([1, 100, 500, 900])
    alpha_bar = scheduler(prediction).alphas_cumprod[timesteps]
    snr = alpha_bar / (1 - alpha_bar)
    expected = snr.clamp(max=5.0) / eval(divisor, {"snr": snr})
    torch.testing.assert_close(schedule.min_snr_weights(timesteps, 5.0), expected, rtol=1e-4, atol=1e-6)
    assert schedule.min_snr_weights(timesteps, 0.0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", {0: 0.5, 1: 1, 50: 1, 99: 1}),
        ("step", {49: 1, 50: 0.1, 74: 0.1, 75: 0.01}),
        ("cosine", {1: 1, 50: 0.508, 99: 0.00026}),
    ],
)
def test_learning_rate_follows_the_schedule(name: str, expected: dict[int, float]) -> None:
    settings = OptimizerSettings(train_steps=100, lr_warmup_steps=1, lr_scheduler=name, learning_rate=2.0)
    for step, factor in expected.items():
        assert learning_rate_at(step, settings) == pytest.approx(2 * factor, abs=0.01)


def test_batches_use_every_image_equally_often_at_its_size() -> None:
    sizes = [(64, 64)] * 7 + [(96, 48)] * 2 + [(48, 96)]
    specs = list(itertools.islice(batch_order.batches(sizes, 3, seed=5), 200))
    counts = Counter(index for spec in specs for index in spec.indices)
    assert max(counts.values()) - min(counts.values()) <= 3
    assert all(sizes[index] == spec.size for spec in specs for index in spec.indices)
    assert specs == list(itertools.islice(batch_order.batches(sizes, 3, seed=5), 200))
    assert specs != list(itertools.islice(batch_order.batches(sizes, 3, seed=6), 200))


def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(registry.resolve_model("tiny", offline=True).path / "vae")


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    """Return every perceptual distance; VGG16 has random weights."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(vgg_tensors(), file)
    unet = UNet2DModel.from_pretrained(registry.resolve_model("denoiser", offline=True).path / "unet")
    vgg = perceptual.Vgg16Distance(file)
    return {
        "decoder": perceptual.DecoderFeatureDistance(vae()), "vgg": vgg,
        "denoiser": perceptual.DenoiserFeatureDistance(unet),
        "decoded": perceptual.DecodedImageDistance(vae(), vgg),
    }  # fmt: skip


def vgg_tensors() -> dict[str, torch.Tensor]:
    channels = [pair for block in perceptual.Vgg16Distance.BLOCK_CHANNELS for pair in itertools.pairwise(block)]
    tensors = {}
    for index, (inputs, outputs) in zip(training_conflicts.VGG_CONV_INDICES, channels, strict=True):
        tensors[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5)
        tensors[f"features.{index}.bias"] = torch.zeros(outputs)
    return tensors


@pytest.mark.parametrize("name", ["decoder", "vgg", "denoiser", "decoded"])
def test_perceptual_distances_grow_with_the_difference(name: str, distances: dict[str, nn.Module]) -> None:
    distance = distances[name]
    shape = (2, 16, 4, 4) if name.startswith("deco") else (2, 3, 48, 32)
    reference = torch.randn(shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    step = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    near, far = (reference + amount * step for amount in (0.02, 0.4))
    near.requires_grad_(True)
    result = distance(near, reference)
    assert result.shape == (2,)
    assert (result < distance(far, reference)).all()
    assert distance(reference, reference).abs().max() < 1e-6
    result.sum().backward()
    assert (near.grad * step).sum() > 0


def test_training_scales_latents_with_the_vae_statistics_as_sampling(models: dict[str, Path]) -> None:
    shutil.copytree(models["sd1"], "model")
    config_file = Path("model/vae/config.json")
    config = json.loads(config_file.read_text())
    config |= {"latents_mean": [0.5, -1.0, 0.0, 2.0], "latents_std": [2.0, 0.5, 1.0, 3.0]}
    config_file.write_text(json.dumps(config))
    Path("images").mkdir()
    Image.effect_noise((32, 32), 80).convert("RGB").save("images/0.png")
    settings = training_plan.TrainingSettings(
        DatasetSettings(folder=Path("images"), resolution=32, min_side=16), LoraTrainingSettings(), OptimizerSettings(),
        LossSettings(perceptual_weight=1.0), CheckpointSettings(), DeviceSettings(device="cpu"),
    )  # fmt: skip
    plan = training_plan.create_training_plan(settings, ModelRef(model="model"), "x.safetensors")
    training = setup.build_setup(plan, setup.create_accelerator(plan), no_op)
    vae = training.pipe.vae
    with torch.no_grad():  # a tiny posterior variance, so that each sample equals the mode
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -60
    list(training.latent_cache.populate())
    spec = batch_order.BatchSpec(0, training.latent_cache.image_sizes[0], (0,))
    batch = setup.build_loop(training).build_batch(spec, torch.Generator().manual_seed(0))
    with Image.open("images/0.png") as image:
        pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(batch["latents"], encode_images(vae, pixels), atol=1e-4, rtol=1e-4)
    features = next(training.objective.distance.features(batch["latents"]))
    decoder_input = vae.post_quant_conv(unscale_latents(batch["latents"], vae.config))
    torch.testing.assert_close(features, vae.decoder.mid_block(vae.decoder.conv_in(decoder_input)))


def test_file_without_vgg_is_rejected(tmp_path: Path) -> None:
    tensors = vgg_tensors()
    del tensors["features.5.weight"]
    save_file(tensors, tmp_path / "vgg.safetensors")
    with pytest.raises(InputFileError, match=r"features\.5\.weight is missing"):
        training_conflicts.check_vgg(tmp_path / "vgg.safetensors")


def train_state(seed: int = 0) -> checkpoints.TrainState:
    torch.manual_seed(seed)
    module = nn.Linear(3, 2)
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    module(torch.ones(3)).sum().backward()
    optimizer.step()
    return checkpoints.TrainState(parameters, optimizer, EMA(parameters, 0.9))


def test_checkpoint_restores_the_state_and_old_ones_are_deleted(tmp_path: Path) -> None:
    paths = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    saved, restored = train_state(0), train_state(1)
    for step in (1, 2, 3):
        checkpoints.save_checkpoint(paths, saved, step, {"a": 1}, max_checkpoints=2)
    assert sorted(path.name for path in paths.checkpoints_dir.iterdir()) == ["step-0000002", "step-0000003"]
    checkpoints.restore_checkpoint(paths.checkpoint_dir(3), restored)
    for name, parameter in saved.parameters.items():
        assert torch.equal(parameter, restored.parameters[name])
        assert torch.equal(saved.ema.shadow[name], restored.ema.shadow[name])
        state, restored_state = saved.optimizer.state[parameter], restored.optimizer.state[restored.parameters[name]]
        assert all(torch.equal(state[key], restored_state[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".bin", ".pkl")]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Limit files to 100 bytes inside the context."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_existing_checkpoints_unchanged(tmp_path: Path) -> None:
    paths = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    checkpoints.save_checkpoint(paths, train_state(), 1, {}, max_checkpoints=1)
    with full_disk(), pytest.raises(OutputError, match="Cannot write the checkpoint") as error:
        checkpoints.save_checkpoint(paths, train_state(), 2, {}, max_checkpoints=1)
    assert "step-0000001" in error.value.hint
    assert paths.newest_checkpoint() == paths.checkpoint_dir(1)
    assert [path.name for path in paths.checkpoints_dir.iterdir()] == ["step-0000001"]


def test_damaged_checkpoint_is_rejected(tmp_path: Path) -> None:
    paths = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    folder = checkpoints.save_checkpoint(paths, train_state(), 1, {}, max_checkpoints=1)
    (folder / checkpoints.OPTIMIZER_FILE).write_bytes(b"short")
    with pytest.raises(InputFileError, match="Cannot read"):
        checkpoints.restore_checkpoint(folder, train_state())


@pytest.mark.parametrize("name", [checkpoints.WEIGHTS_FILE, checkpoints.OPTIMIZER_FILE, training_layout.STATE_FILE])
def test_pipe_in_a_checkpoint_is_rejected_without_waiting(tmp_path: Path, name: str) -> None:
    paths = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    folder = checkpoints.save_checkpoint(paths, train_state(), 1, {}, max_checkpoints=1)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputFileError, match=f"Cannot read the checkpoint .*: '{name}'"):
        checkpoints.restore_checkpoint(folder, train_state())


def test_losses_of_repeated_steps_are_deleted(tmp_path: Path) -> None:
    paths = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    first = loss_log.LossLog(paths, 0)
    for step in range(1, 8):
        first.log_step(step, {"loss": 1 / step}, 0.1, 0.5)
    second = loss_log.LossLog(paths, 4)
    second.log_step(5, {"loss": 9.0}, 0.1, 0.5)
    rows = loss_log.read_loss_csv(paths.loss_csv)
    assert [row.step for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1].losses == {"loss": 9.0}


@pytest.mark.parametrize(
    ("output", "is_lora", "expected"),
    [
        ("a/mine", True, "a/mine.safetensors"),
        ("a/mine.v2", True, "a/mine.v2.safetensors"),
        ("a/mine/", False, "a/mine"),
        (None, True, None),
        ("  ", False, None),
        ("a/", True, "a/photos-of-x.safetensors"),
        ("a.safetensors/", True, "a.safetensors/photos-of-x.safetensors"),
        (".", True, "photos-of-x.safetensors"),
        ("mine.safetensors", False, None),
        ("mine.safetensors/", False, "mine.safetensors"),
        (".safetensors", True, None),
        (".", False, None),
    ],
)
def test_output_option_defines_the_training_paths(output: str | None, is_lora: bool, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ArtgenError):
            training_layout.resolve_training_paths(output, Path("photos of x"), is_lora=is_lora)
        return
    paths = training_layout.resolve_training_paths(output, Path("photos of x"), is_lora=is_lora)
    assert paths.result == Path(expected)
    assert paths.training_dir.name == Path(expected).name.removesuffix(".safetensors") + "-training"


def test_tensorboard_files_contain_every_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = tensorboard.TensorBoardLogger(tmp_path, 0)
    for step in (1, 2, 3):
        logger.log_step(TrainStep(step, {"loss": 1 / step}, 0.1, 1.0, 4))
    logger.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert events.Scalars("learning rate")[0].value == pytest.approx(0.1)
