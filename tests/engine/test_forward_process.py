"""Test the forward process and the command `artgen noise`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run, save_inputs
from diffusers import DDPMScheduler
from PIL import Image

from artgen import registry
from artgen.api.noise_strip import SCHEDULES
from artgen.engine.diffusion.noise_schedule import SCHEDULE_CONFIGS, noise_levels
from artgen.engine.diffusion.pixel_forward import add_pixel_noise

DIFFUSERS_SCHEDULERS = {
    "linear": DDPMScheduler(),
    "scaled-linear": DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
}


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()


@pytest.mark.parametrize("name", sorted(DIFFUSERS_SCHEDULERS))
def test_schedules_equal_diffusers(name: str) -> None:
    """Timestep 0 of diffusers is the first timestep with noise; timestep 0 of artgen is the clean image."""
    alpha_bar = DIFFUSERS_SCHEDULERS[name].alphas_cumprod.numpy()
    for level in noise_levels(SCHEDULE_CONFIGS[name], 11)[1:]:
        assert level.alpha**2 == pytest.approx(alpha_bar[level.timestep - 1], rel=2e-3, abs=1e-9)
        assert level.alpha**2 + level.sigma**2 == pytest.approx(1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_range_from_the_image_to_noise(name: str) -> None:
    first, *between, last = noise_levels(SCHEDULE_CONFIGS[name], 8)
    assert (first.timestep, first.alpha, first.sigma, first.snr_db) == (0, 1, 0, None)
    assert last.timestep == 1000
    assert last.alpha < 0.07
    ratios = [level.snr_db for level in between]
    assert ratios == sorted(ratios, reverse=True)
    assert list(SCHEDULE_CONFIGS) == list(SCHEDULES)


def test_noisy_images_have_the_mean_and_variance_of_the_formula() -> None:
    gray = Image.new("RGB", (128, 128), (140, 140, 140))
    levels = [level for level in noise_levels(SCHEDULE_CONFIGS["linear"], 41) if 0 < level.sigma < 0.4]
    assert len(levels) >= 3
    for level, state in zip(levels, add_pixel_noise(gray, levels, 5), strict=True):
        values = np.asarray(state) / 127.5 - 1
        assert values.mean() == pytest.approx(level.alpha * (140 / 127.5 - 1), abs=0.01)
        assert values.std() == pytest.approx(level.sigma, rel=0.03)


def test_all_levels_share_the_noise_of_the_seed() -> None:
    gray = Image.new("RGB", (64, 64), (128, 128, 128))
    levels = noise_levels(SCHEDULE_CONFIGS["linear"], 9)[3:5]
    first, second = (np.asarray(state, float).ravel() for state in add_pixel_noise(gray, levels, 1))
    other = np.asarray(add_pixel_noise(gray, levels, 2)[0], float).ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


def test_strip_and_animation_are_saved() -> None:
    out = run("noise", "in.png", "--steps", "5", "-o", "strip.png", "--frames", "noise.gif", "--json")
    output = json.loads(out.stdout)
    assert (output["file"], output["frames"], output["schedule"]) == ("strip.png", "noise.gif", "linear")
    assert [at["t"] for at in output["times"]] == [0, 250, 500, 750, 1000]
    strip = Image.open("strip.png")
    assert strip.width == 5 * (96 + 8) + 8
    column = np.asarray(strip)[20:80, 8 + 24 : 8 + 72]
    assert (column == np.asarray(Image.open("in.png"))[0, 0]).all(), "the first cell is the input image"
    assert Image.open("noise.gif").n_frames == 33
    assert Image.open("noise.gif").size == (33, 47)
    assert "exists already" in run("noise", "in.png", "-o", "strip.png", code=74).stderr
    assert run("noise", "in.png", "-q").stdout == "outputs/in-noise.png\n"


def test_large_image_is_downscaled_before_noise_is_added() -> None:
    Image.new("RGB", (800, 400), (128, 128, 128)).save("large.png")
    run("noise", "large.png", "--steps", "3", "-o", "strip.png", "--schedule", "flow")
    last = np.asarray(Image.open("strip.png"), float)[8 + 64 : 8 + 192, 8 + 2 * 264 : 8 + 2 * 264 + 256]
    assert last.shape == (128, 256, 3)
    assert last.std() > 80, "the noise is not averaged by downscaling"


def test_model_schedule_and_latent_space(sd1: str) -> None:
    output = json.loads(run("noise", "in.png", "-m", sd1, "--json", "-o", "a.png").stdout)
    assert output["times"][4]["signal"] == pytest.approx(noise_levels(SCHEDULE_CONFIGS["scaled-linear"], 8)[4].alpha)
    run("noise", "in.png", "-m", sd1, "--space", "latent", "-o", "b.png", "--steps", "4", "--frames", "b/")
    assert {Image.open(path).size for path in Path("b").iterdir()} == {(22, 32)}
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()
    assert registry.resolve_model("denoiser").architecture == "pixel"
    run("noise", "in.png", "-m", "denoiser", "-o", "c.png")
    assert (
        "Cannot add noise to the latents"
        in run("noise", "in.png", "-m", "denoiser", "--space", "latent", code=4).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("missing.png",), 3),
        (("in.png", "--steps", "1"), 2),
        (("in.png", "--schedule", "sigmoid"), 2),
        (("in.png", "--space", "words"), 2),
        (("in.png", "-o", "x.bmp"), 2),
        (("in.png", "--frames", "x.bmp"), 2),
        (("in.png", "--fps", "3"), 2),
        (("in.png", "-m", "no/such-model-at-all", "--space", "latent"), 4),
    ],
)
def test_invalid_arguments_are_rejected(arguments: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run("noise", *arguments, code=code)
    assert not Path("outputs").exists()
