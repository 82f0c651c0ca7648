"""What a training is made of: noise and weights as diffusers has them, losses, schedules, order, checkpoints."""

import contextlib
import itertools
import os
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from artgen import registry
from artgen.engine.diffusion import noise_schedule
from artgen.engine.training import batch_order, checkpoints, loss_log, perceptual, setup, tensorboard
from artgen.engine.training.ema import EMA
from artgen.engine.training.loop import TrainStep
from artgen.engine.training.lr_schedule import learning_rate_at
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.jobs import training_layout, training_plan
from artgen.spec.settings import OptimizerSettings

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
def test_noise_and_target_are_those_of_diffusers(prediction: str, zero: bool) -> None:
    theirs = scheduler(prediction, zero)
    mine = noise_schedule.read_noise_schedule(theirs, "a model")
    clean, noise, times = latents(1), latents(2), torch.tensor([0, 300, 700, 999])
    noisy = mine.add_noise(clean, noise, times)
    torch.testing.assert_close(noisy, theirs.add_noise(clean, noise, times))
    wanted = {"epsilon": noise, "v_prediction": theirs.get_velocity(clean, noise, times), "sample": clean}[prediction]
    target = mine.target(clean, noise, times)
    torch.testing.assert_close(target, wanted)
    known = slice(0, 3) if zero and prediction == "epsilon" else slice(0, 4)  # pure noise says nothing of what was
    torch.testing.assert_close(mine.predict_x0(noisy, target, times)[known], clean[known], atol=1e-3, rtol=1e-3)


def test_a_gpu_that_is_named_is_not_that_of_later_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    with setup._select_accelerate_device("cuda:1"):
        assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cuda:1"
    with setup._select_accelerate_device("cuda"):
        assert "ACCELERATE_TORCH_DEVICE" not in os.environ
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cuda:3")  # the user's own
    with setup._select_accelerate_device("cuda:1"):
        pass
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cuda:3"


def test_flow_goes_straight_from_clean_to_noise() -> None:
    mine = noise_schedule.read_noise_schedule(FlowMatchEulerDiscreteScheduler(), "a model")
    clean, noise, times = latents(1), latents(2), torch.tensor([0, 300, 700, 999])
    noisy = mine.add_noise(clean, noise, times)
    torch.testing.assert_close(noisy[3], noise[3])
    torch.testing.assert_close(
        mine.predict_x0(noisy, mine.target(clean, noise, times), times), clean, atol=1e-5, rtol=1e-4
    )
    drawn = mine.sample_timesteps(4000, torch.Generator().manual_seed(0)).float()
    assert 480 < drawn.mean() < 520
    assert drawn.std() < 230  # 289 if all were alike


@pytest.mark.parametrize(("prediction", "by"), [("epsilon", "snr"), ("v_prediction", "snr + 1"), ("sample", "1")])
def test_min_snr_is_that_of_the_paper(prediction: str, by: str) -> None:
    mine = noise_schedule.read_noise_schedule(scheduler(prediction), "a model")
    times = torch.tensor([1, 100, 500, 900])
    alpha = scheduler(prediction).alphas_cumprod[times]
    snr = alpha / (1 - alpha)
    wanted = snr.clamp(max=5.0) / eval(by, {"snr": snr})
    torch.testing.assert_close(mine.min_snr_weights(times, 5.0), wanted, rtol=1e-4, atol=1e-6)
    assert mine.min_snr_weights(times, 0.0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constant", {0: 0.5, 1: 1, 50: 1, 99: 1}),
        ("step", {49: 1, 50: 0.1, 74: 0.1, 75: 0.01}),
        ("cosine", {1: 1, 50: 0.508, 99: 0.00026}),
    ],
)
def test_learning_rates(name: str, wanted: dict[int, float]) -> None:
    settings = OptimizerSettings(train_steps=100, lr_warmup_steps=1, lr_scheduler=name, learning_rate=2.0)
    for step, share in wanted.items():
        assert learning_rate_at(step, settings) == pytest.approx(2 * share, abs=0.01)


def test_every_picture_is_seen_equally_often_with_its_own_size() -> None:
    sizes = [(64, 64)] * 7 + [(96, 48)] * 2 + [(48, 96)]
    picks = list(itertools.islice(batch_order.batches(sizes, 3, seed=5), 200))
    seen = Counter(member for pick in picks for member in pick.indices)
    assert max(seen.values()) - min(seen.values()) <= 3
    assert all(sizes[member] == pick.size for pick in picks for member in pick.indices)
    assert picks == list(itertools.islice(batch_order.batches(sizes, 3, seed=5), 200))
    assert picks != list(itertools.islice(batch_order.batches(sizes, 3, seed=6), 200))


def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(registry.resolve_model("tiny", offline=True).path / "vae")


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    """Every perceptual term; the VGG16 with random weights."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(vgg_tensors(), file)
    unet = UNet2DModel.from_pretrained(registry.resolve_model("denoiser", offline=True).path / "unet")
    vgg = perceptual.Vgg16Distance(file)
    return {
        "decoder": perceptual.DecoderFeatureDistance(vae()), "vgg": vgg, "denoiser": perceptual.DenoiserFeatureDistance(unet),
        "decoded": perceptual.DecodedImageDistance(vae(), vgg),
    }  # fmt: skip


def vgg_tensors() -> dict[str, torch.Tensor]:
    widths = [width for level in perceptual.Vgg16Distance.BLOCK_CHANNELS for width in itertools.pairwise(level)]
    tensors = {}
    for number, (before, after) in zip(training_plan.VGG_CONV_INDICES, widths, strict=True):
        tensors[f"features.{number}.weight"] = torch.randn(after, before, 3, 3) / (3 * before**0.5)
        tensors[f"features.{number}.bias"] = torch.zeros(after)
    return tensors


@pytest.mark.parametrize("name", ["decoder", "vgg", "denoiser", "decoded"])
def test_perceptual_terms_are_distances_with_a_gradient(name: str, distances: dict[str, nn.Module]) -> None:
    distance = distances[name]
    shape = (2, 16, 4, 4) if name.startswith("deco") else (2, 3, 48, 32)
    reference = torch.randn(shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    step = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    near, far = (reference + amount * step for amount in (0.02, 0.4))
    near.requires_grad_(True)
    found = distance(near, reference)
    assert found.shape == (2,)
    assert (found < distance(far, reference)).all()
    assert distance(reference, reference).abs().max() < 1e-6
    found.sum().backward()
    # Where the distance grows with the step away, going on in its direction makes it larger.
    assert (near.grad * step).sum() > 0


def test_a_file_without_vgg_is_refused(tmp_path: Path) -> None:
    tensors = vgg_tensors()
    del tensors["features.5.weight"]
    save_file(tensors, tmp_path / "vgg.safetensors")
    with pytest.raises(InputFileError, match=r"lacks features\.5\.weight"):
        training_plan.check_vgg(tmp_path / "vgg.safetensors")


def learner(seed: int = 0, average: bool = True) -> checkpoints.TrainState:
    torch.manual_seed(seed)
    module = nn.Linear(3, 2)
    parameters = dict(module.named_parameters())
    optimiser = torch.optim.AdamW(parameters.values(), lr=0.1)
    module(torch.ones(3)).sum().backward()
    optimiser.step()
    return checkpoints.TrainState(parameters, optimiser, EMA(parameters, 0.9) if average else None)


def test_checkpoints_keep_everything_and_only_the_last(tmp_path: Path) -> None:
    layout = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    one, other = learner(0), learner(1)
    for step in (1, 2, 3):
        checkpoints.save_checkpoint(layout, one, step, {"a": 1}, max_checkpoints=2)
    assert sorted(path.name for path in layout.checkpoints_dir.iterdir()) == ["step-0000002", "step-0000003"]
    checkpoints.restore_checkpoint(layout.checkpoint_dir(3), other)
    for name, parameter in one.parameters.items():
        assert torch.equal(parameter, other.parameters[name])
        assert torch.equal(one.ema.shadow[name], other.ema.shadow[name])
        mine, theirs = one.optimizer.state[parameter], other.optimizer.state[other.parameters[name]]
        assert all(torch.equal(mine[key], theirs[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".bin", ".pkl")]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Within, no file can become larger than 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    layout = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    checkpoints.save_checkpoint(layout, learner(), 1, {}, max_checkpoints=1)
    with full_disk(), pytest.raises(OutputError, match="cannot be written") as refused:
        checkpoints.save_checkpoint(layout, learner(), 2, {}, max_checkpoints=1)
    assert "step-0000001" in refused.value.hint
    assert layout.newest_checkpoint() == layout.checkpoint_dir(1)
    assert [path.name for path in layout.checkpoints_dir.iterdir()] == ["step-0000001"]


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    layout = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    place = checkpoints.save_checkpoint(layout, learner(), 1, {}, max_checkpoints=1)
    (place / checkpoints.OPTIMIZER_FILE).write_bytes(b"short")
    with pytest.raises(InputFileError, match="cannot be read"):
        checkpoints.restore_checkpoint(place, learner())


def test_losses_of_steps_done_again_are_dropped(tmp_path: Path) -> None:
    layout = training_layout.TrainingPaths(tmp_path / "x.safetensors")
    first = loss_log.LossLog(layout, 0)
    for step in range(1, 8):
        first.log_step(step, {"loss": 1 / step}, 0.1, 0.5)
    second = loss_log.LossLog(layout, 4)
    second.log_step(5, {"loss": 9.0}, 0.1, 0.5)
    second.save_plot()
    rows = loss_log.read_loss_csv(layout.loss_csv)
    assert [row.step for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1].losses == {"loss": 9.0}
    with Image.open(layout.loss_png) as picture:
        assert picture.size == (loss_log.PLOT_WIDTH_PX, loss_log.PLOT_HEIGHT_PX)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 3


@pytest.mark.parametrize(
    ("output", "whole", "wanted"),
    [
        ("a/mine", False, "a/mine.safetensors"),
        ("a/mine.v2", False, "a/mine.v2.safetensors"),
        ("a/mine/", True, "a/mine"),
        (None, False, None),
        ("  ", True, None),
        ("a/", False, None),
        ("mine.safetensors", True, None),
    ],
)
def test_where_results_go(output: str | None, whole: bool, wanted: str | None) -> None:
    if wanted is None:
        with pytest.raises(ArtgenError):
            training_layout.resolve_training_paths(output, is_model_folder=whole)
        return
    found = training_layout.resolve_training_paths(output, is_model_folder=whole)
    assert found.result == Path(wanted)
    assert found.training_dir.name == Path(wanted).name.removesuffix(".safetensors") + "-training"


def test_tensorboard_hears_every_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written = tensorboard.TensorBoardLogger(tmp_path, 0)
    for step in (1, 2, 3):
        written.log_step(TrainStep(step, {"loss": 1 / step}, 0.1, 1.0, 4))
    written.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert events.Scalars("learning rate")[0].value == pytest.approx(0.1)
