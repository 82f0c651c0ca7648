"""`artgen noise`: the forward process by its formulas, and the strip that shows it."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run, save_inputs
from diffusers import DDPMScheduler
from PIL import Image

from artgen import registry
from artgen.cli.noise import SCHEDULES
from artgen.engine.diffusion.noise_schedule import SCHEDULE_CONFIGS, noise_levels
from artgen.engine.diffusion.pixel_forward import add_pixel_noise

ELSEWHERE = {
    "linear": DDPMScheduler(),
    "scaled-linear": DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
}


@pytest.fixture(autouse=True)
def _inputs() -> None:
    save_inputs()


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_schedules_are_those_of_diffusers(name: str) -> None:
    """diffusers counts its timesteps from 0, the first with noise; here 0 is the clean picture."""
    kept = ELSEWHERE[name].alphas_cumprod.numpy()
    for moment in noise_levels(SCHEDULE_CONFIGS[name], 11)[1:]:
        assert moment.alpha**2 == pytest.approx(kept[moment.timestep - 1], rel=2e-3, abs=1e-9)
        assert moment.alpha**2 + moment.sigma**2 == pytest.approx(1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_goes_from_the_picture_to_noise(name: str) -> None:
    first, *between, last = noise_levels(SCHEDULE_CONFIGS[name], 8)
    assert (first.timestep, first.alpha, first.sigma, first.snr_db) == (0, 1, 0, None)
    assert last.timestep == 1000
    assert last.alpha < 0.07
    ratios = [moment.snr_db for moment in between]
    assert ratios == sorted(ratios, reverse=True)
    assert list(SCHEDULE_CONFIGS) == list(SCHEDULES)


def test_states_have_the_mean_and_variance_of_the_formula() -> None:
    grey = Image.new("RGB", (128, 128), (140, 140, 140))
    times = [moment for moment in noise_levels(SCHEDULE_CONFIGS["linear"], 41) if 0 < moment.sigma < 0.4]
    assert len(times) >= 3
    for moment, state in zip(times, add_pixel_noise(grey, times, 5), strict=True):
        values = np.asarray(state) / 127.5 - 1
        assert values.mean() == pytest.approx(moment.alpha * (140 / 127.5 - 1), abs=0.01)
        assert values.std() == pytest.approx(moment.sigma, rel=0.03)


def test_one_noise_for_all_times_by_the_seed() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    times = noise_levels(SCHEDULE_CONFIGS["linear"], 9)[3:5]
    first, second = (np.asarray(state, float).ravel() for state in add_pixel_noise(grey, times, 1))
    other = np.asarray(add_pixel_noise(grey, times, 2)[0], float).ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


def test_a_strip_and_its_animation() -> None:
    out = run("noise", "in.png", "--steps", "5", "-o", "strip.png", "--frames", "noise.gif", "--json")
    made = json.loads(out.stdout)
    assert (made["file"], made["frames"], made["schedule"]) == ("strip.png", "noise.gif", "linear")
    assert [at["t"] for at in made["times"]] == [0, 250, 500, 750, 1000]
    strip = Image.open("strip.png")
    assert strip.width == 5 * (96 + 8) + 8
    column = np.asarray(strip)[20:80, 8 + 24 : 8 + 72]
    assert (column == np.asarray(Image.open("in.png"))[0, 0]).all(), "the first is the picture"
    assert Image.open("noise.gif").n_frames == 33
    assert Image.open("noise.gif").size == (33, 47)
    assert "exists already" in run("noise", "in.png", "-o", "strip.png", code=74).stderr
    assert run("noise", "in.png", "-q").stdout == "outputs/in-noise.png\n"


def test_a_large_picture_is_noised_at_the_size_it_is_shown_at() -> None:
    Image.new("RGB", (800, 400), (128, 128, 128)).save("large.png")
    run("noise", "large.png", "--steps", "3", "-o", "strip.png", "--schedule", "flow")
    last = np.asarray(Image.open("strip.png"), float)[8 + 64 : 8 + 192, 8 + 2 * 264 : 8 + 2 * 264 + 256]
    assert last.shape == (128, 256, 3)
    assert last.std() > 80, "not averaged away"


def test_latents_and_schedules_of_models(sd1: str) -> None:
    made = json.loads(run("noise", "in.png", "-m", sd1, "--json", "-o", "a.png").stdout)
    assert made["times"][4]["signal"] == pytest.approx(noise_levels(SCHEDULE_CONFIGS["scaled-linear"], 8)[4].alpha)
    run("noise", "in.png", "-m", sd1, "--space", "latent", "-o", "b.png", "--steps", "4", "--frames", "b/")
    assert {Image.open(path).size for path in Path("b").iterdir()} == {(22, 32)}
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()
    assert registry.resolve_model("denoiser").architecture == "pixel"
    run("noise", "in.png", "-m", "denoiser", "-o", "c.png")
    assert "no latents" in run("noise", "in.png", "-m", "denoiser", "--space", "latent", code=4).stderr


@pytest.mark.parametrize(
    ("words", "code"),
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
def test_refusals(words: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run("noise", *words, code=code)
    assert not Path("outputs").exists()
