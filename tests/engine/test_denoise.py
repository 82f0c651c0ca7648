"""Noise out of pictures: the levels, the steps, the tiles, and what becomes of a picture."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny_denoisers as tiny
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

from artgen import Denoise, generate, registry
from artgen.engine.denoise import pixel_denoiser
from artgen.engine.denoise.ddim import ddim_denoise, self_ensemble
from artgen.engine.denoise.local_group_norm import LocalGroupNorm, use_local_group_norm
from artgen.engine.denoise.pixel_denoiser import PixelDenoiser
from artgen.engine.denoise.tiling import Tiling
from artgen.engine.diffusion.sigma_schedule import PIXEL_HALF_RANGE, sigma_schedule
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import Event, Notice, no_op

CPU = DeviceConfig("cpu", "fp32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("denoiser"))


def network(folder: str) -> PixelDenoiser:
    return pixel_denoiser.load_pixel_denoiser(registry.resolve_model(folder), CPU, no_op)


def noisy_picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 255, (channels, height, width)).astype(np.float32)


def save_picture(name: str, mode: str = "RGB", size: tuple[int, int] = (33, 21)) -> Path:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(5).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    Image.fromarray(values.squeeze(2) if bands == 1 else values, mode).save(name)
    return Path(name)


def denoised(image: Path, **settings: object) -> Image.Image:
    return generate(Denoise(image=image, **settings)).image  # type: ignore[arg-type]


# -- levels


def test_levels_are_the_schedulers_own() -> None:
    scheduler = DDIMScheduler(beta_schedule="linear")
    levels = sigma_schedule(scheduler.config, "it")
    kept = scheduler.alphas_cumprod.double().numpy()
    np.testing.assert_allclose(levels.sigmas[10:], PIXEL_HALF_RANGE * np.sqrt((1 - kept) / kept)[10:], rtol=1e-3)
    for step in (0, 17, 400, 999):
        assert levels.timestep(levels.sigmas[step]) == pytest.approx(step, abs=1e-6)
    assert 17 < levels.timestep((levels.sigmas[17] + levels.sigmas[18]) / 2) < 18


def test_the_weakest_levels_are_not_lost_to_rounding() -> None:
    sigmas = 0.1 * np.arange(1, 1001) / PIXEL_HALF_RANGE
    kept = 1 / (1 + sigmas**2)
    betas = 1 - kept / np.concatenate([[1.0], kept[:-1]])
    levels = sigma_schedule(DDIMScheduler(trained_betas=betas.tolist()).config, "it")
    np.testing.assert_allclose(levels.sigmas, 0.1 * np.arange(1, 1001), rtol=1e-4)


def test_a_descent_begins_at_the_pictures_noise_and_falls() -> None:
    levels = sigma_schedule(DDIMScheduler().config, "it")
    for steps in (1, 2, 10):
        found = levels.sigmas_for(25, steps)
        assert (found[0], len(found)) == (25, steps)
        assert found[-1] == pytest.approx(25 if steps == 1 else 10)
        assert all(a > b >= levels.min_sigma for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    "config", [{"_class_name": "ScoreSdeVeScheduler"}, {"beta_schedule": "linear", "prediction_type": "flow"}]
)
def test_schedules_of_another_kind_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot read noise levels"):
        sigma_schedule(config, "it")


# -- steps


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_steps_are_those_of_diffusers_ddim(tmp_path: Path, prediction: str, eta: float) -> None:
    settings = {"prediction_type": prediction, "clip_sample": False, "timestep_spacing": "trailing"}
    found = network(tiny.save(tmp_path / "model", **settings))
    plain = UNet2DModel.from_pretrained(tmp_path / "model" / "unet").eval()
    scheduler = DDIMScheduler(**settings, steps_offset=0, set_alpha_to_one=True)
    scheduler.set_timesteps(100)  # 999, 989, ..., 9
    times = [109, 99, 89]
    noisy, random = noisy_picture(tiny.SIZE, tiny.SIZE), np.random.default_rng(1)
    kept = scheduler.alphas_cumprod[times[0]]
    state = torch.from_numpy(noisy)[None] / PIXEL_HALF_RANGE - 1
    state = state * kept.sqrt()
    with torch.inference_mode():
        for time in times:
            said = plain(state, time).sample
            drawn = torch.from_numpy(random.standard_normal(noisy.shape, np.float32))[None]
            after = scheduler.step(said, time, state, eta=eta, variance_noise=drawn if eta else None)
            state = after.prev_sample
        last = scheduler.alphas_cumprod[times[-1] - 10]
    sigmas = [float(found.schedule.sigmas[time]) for time in (*times, times[-1] - 10)]
    random = np.random.default_rng(1)
    states: list[np.ndarray] = []

    def mean(given: np.ndarray, sigma: float) -> np.ndarray:
        states.append(given)
        return found.predict_x0(given, sigma)

    ddim_denoise(mean, noisy, sigmas, eta, random)
    expected = (state / last.sqrt())[0].numpy()
    np.testing.assert_allclose(states[-1] / PIXEL_HALF_RANGE - 1, expected, atol=2e-4)


def test_one_step_is_the_posterior_mean(model: str) -> None:
    found, noisy = network(model), noisy_picture(tiny.SIZE, tiny.SIZE)
    first, last = ddim_denoise(found.predict_x0, noisy, found.schedule.sigmas_for(30, 1), 0, np.random.default_rng())
    np.testing.assert_array_equal(first, last)
    plain = UNet2DModel.from_pretrained(Path(model) / "unet").eval()
    state, amount = torch.from_numpy(noisy)[None] / PIXEL_HALF_RANGE - 1, 30 / PIXEL_HALF_RANGE
    with torch.inference_mode():
        said = plain(state / (1 + amount**2) ** 0.5, torch.tensor(found.schedule.timestep(30))).sample
    np.testing.assert_allclose(first, ((state - amount * said)[0].numpy() + 1) * PIXEL_HALF_RANGE, atol=1e-2)


def test_learned_variance_is_left_aside(tmp_path: Path) -> None:
    both = tiny.unet(out_channels=6)
    found, noisy = network(tiny.save(tmp_path / "model", both)), noisy_picture(tiny.SIZE, tiny.SIZE)
    assert found.predict_x0(noisy, 30).shape == noisy.shape


def test_flips_and_turns_are_undone() -> None:
    picture = noisy_picture(7, 5)
    for runs in (1, 3, 8):
        np.testing.assert_allclose(self_ensemble(lambda state: state, picture, runs), picture, rtol=1e-5)
    seen: list[bytes] = []

    def way(state: np.ndarray) -> np.ndarray:
        seen.append(state.tobytes())
        return state

    self_ensemble(way, noisy_picture(6, 6), 8)
    assert len(set(seen)) == 8


# -- tiles


def test_local_statistics_of_one_window_are_the_plain_ones() -> None:
    plain = torch.nn.GroupNorm(4, 8)
    torch.nn.init.normal_(plain.weight)
    torch.nn.init.normal_(plain.bias)
    holder = torch.nn.Sequential(plain)
    frame = use_local_group_norm(holder, 64)
    x = torch.randn(1, 8, 64, 64) * 3 + 1
    for side in (64, 32, 8):  # one window at three levels of a network
        frame.image_height_px = 64
        part = x[:, :, :side, :side].contiguous()
        torch.testing.assert_close(holder(part), plain(part), atol=1e-5, rtol=1e-5)
    assert isinstance(holder[0], LocalGroupNorm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_local_norms_are_sound_in_short_numbers(dtype: torch.dtype) -> None:
    """Of values whose squares overflow fp16, and that lie far from zero beside how much they differ."""
    torch.manual_seed(0)
    holder = torch.nn.Sequential(torch.nn.GroupNorm(2, 4))
    use_local_group_norm(holder, 16).image_height_px = 32
    x = (300 + 20 * torch.randn(1, 4, 32, 32)).to(dtype)
    with torch.no_grad():
        exact = holder(x.float())
        short = holder.to(dtype)(x)
    assert short.dtype == dtype
    assert (short.float() - exact).abs().max() < (0.01 if dtype == torch.float16 else 0.05)


def test_local_statistics_do_not_see_what_is_far() -> None:
    holder = torch.nn.Sequential(torch.nn.GroupNorm(1, 2, affine=True))
    frame = use_local_group_norm(holder, 16)
    frame.image_height_px = 64
    x = torch.randn(1, 2, 64, 64)
    y = x.clone()
    y[:, :, :, 40:] *= 9
    torch.testing.assert_close(holder(x)[..., :24], holder(y)[..., :24])
    assert not torch.allclose(holder(x)[..., 40:], holder(y)[..., 40:])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (16, 16), (33, 50), (64, 47)])
@pytest.mark.parametrize("blended", [False, True])
def test_tiles_put_together_are_the_picture(size: tuple[int, int], blended: bool) -> None:
    tiling = Tiling(1 if blended else 4, 16, 16, 4, blended)
    picture, calls = noisy_picture(*size), []

    def predict(part: np.ndarray) -> np.ndarray:
        calls.append(part.shape)
        assert min(part.shape[1:]) >= 16
        return part * 2

    np.testing.assert_allclose(tiling.apply(predict, picture), picture * 2, rtol=1e-5)
    assert len(calls) == tiling.num_tiles(*size)
    if blended:
        assert set(calls) == {(3, 16, 16)}


def test_what_a_tile_sees_is_bounded() -> None:
    largest = 0

    def predict(part: np.ndarray) -> np.ndarray:
        nonlocal largest
        largest = max(largest, *part.shape[1:])
        return part

    Tiling(8, 64, 64, 16).apply(predict, noisy_picture(300, 500))
    assert largest == 64 + 2 * 16


# -- pictures


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 21), (16, 16), (47, 5)])
def test_size_stays(model: str, size: tuple[int, int]) -> None:
    picture = denoised(save_picture("in.png", size=size), model=model, sigma="20")
    assert picture.size == size


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mode_and_transparency_stay(tmp_path: Path, mode: str, channels: int) -> None:
    folder = tiny.save(tmp_path / "model", tiny.unet(channels=channels))
    before = Image.open(save_picture("in.png", mode))
    after = denoised(Path("in.png"), model=folder, sigma="20")
    assert after.mode == mode
    assert after.tobytes() != before.tobytes()
    if mode.endswith("A"):
        assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()


def test_a_grey_picture_stored_in_colour_stays_grey(model: str) -> None:
    Image.open(save_picture("grey.png", "L")).convert("RGB").save("in.png")
    red, green, blue = denoised(Path("in.png"), model=model, sigma="20").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("method", ["tv", "nlm"])
def test_classical_methods_need_no_model(method: str, mode: str) -> None:
    from artgen.engine.metrics import compare_images

    y, x = np.mgrid[0:48, 0:64]
    clean = np.stack([x * 3, y * 4, 255 - 2 * x], axis=-1).astype(np.float64)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255).round().astype(np.uint8)
    if mode == "L":
        clean, noisy = clean[..., 1], noisy[..., 1]
    Image.fromarray(noisy).save("in.png")
    reference = Image.fromarray(clean.clip(0, 255).astype(np.uint8))
    picture = generate(Denoise(image=Path("in.png"), method=method, sigma="20"))
    assert picture.image.mode == mode
    before, after = (compare_images(each, reference)["psnr"] for each in (Image.open("in.png"), picture.image))
    assert after > before + 5
    assert not picture.record.keys() & {"model", "steps", "eta", "self_ensemble", "fidelity", "torch"}


def test_noise_below_the_weakest_level_is_left(tmp_path: Path) -> None:
    path, said = save_picture("in.png"), []
    folder = tiny.save(tmp_path / "model", beta_start=0.01, beta_end=0.02)
    weakest = network(folder).schedule.min_sigma
    for sigma, note in ((weakest * 0.9, "too little noise"), (254.0, None)):
        said.clear()
        picture = generate(Denoise(image=path, model=folder, sigma=f"{sigma:g}"), listener=said.append)
        notes = [event.text for event in said if isinstance(event, Notice)]
        assert any(note in text for text in notes) if note else not notes
        assert (picture.image.tobytes() == Image.open(path).tobytes()) is (note is not None)


def test_noise_above_the_strongest_level_is_met_with_that_level(tmp_path: Path) -> None:
    said: list[Event] = []
    folder = tiny.save(tmp_path / "model", num_train_timesteps=20)
    largest = network(folder).schedule.max_sigma
    picture = generate(Denoise(image=save_picture("in.png"), model=folder, sigma="200"), listener=said.append)
    assert any(isinstance(event, Notice) and "knows noise up to" in event.text for event in said)
    same = generate(Denoise(image=Path("in.png"), model=folder, sigma=str(largest)))
    assert picture.image.tobytes() == same.image.tobytes()


def test_new_noise_comes_from_the_seed_and_only_with_eta(model: str) -> None:
    path = save_picture("in.png")
    first, again, other = (
        denoised(path, model=model, sigma="40", steps=3, eta=1.0, seed=seed).tobytes() for seed in (1, 1, 2)
    )
    assert first == again != other
    plain = generate(Denoise(image=path, model=model, sigma="40", steps=3))
    assert plain.record.get("seed") is None
    assert plain.image.tobytes() == denoised(path, model=model, sigma="40", steps=3, seed=9).tobytes()


def test_fidelity_blends_the_mean_and_the_sample(model: str) -> None:
    path = save_picture("in.png")
    one = np.asarray(denoised(path, model=model, sigma="40"), float)
    many = np.asarray(denoised(path, model=model, sigma="40", steps=5), float)
    half = np.asarray(denoised(path, model=model, sigma="40", steps=5, fidelity=0.5), float)
    whole = np.asarray(denoised(path, model=model, sigma="40", steps=5, fidelity=1.0), float)
    assert np.abs(one - many).max() > 2
    np.testing.assert_array_equal(whole, one)
    inside = (many > 0) & (many < 255) & (one > 0) & (one < 255)
    assert np.abs(half - (one + many) / 2)[inside].max() <= 1.01


def test_an_ensemble_averages_runs(model: str) -> None:
    path = save_picture("in.png")
    pictures = [denoised(path, model=model, sigma="40", self_ensemble=runs).tobytes() for runs in (1, 2, 8)]
    assert len(set(pictures)) == 3
    noisy = {
        runs: denoised(path, model=model, sigma="40", steps=2, eta=1.0, seed=1, self_ensemble=runs) for runs in (1, 9)
    }
    assert noisy[1].tobytes() != noisy[9].tobytes()


# -- models


def test_a_model_with_attention_sees_tiles_of_its_own_size(tmp_path: Path) -> None:
    found = network(tiny.save(tmp_path / "model", tiny.unet(attention=True)))
    assert found.norm_context is None
    assert (found.tiling.tile_size, found.tiling.blend) == (tiny.SIZE, True)
    assert denoised(save_picture("in.png"), model=str(tmp_path / "model"), sigma="20").size == (33, 21)


def test_the_oldest_layout_gives_the_same_picture(tmp_path: Path, model: str) -> None:
    path = save_picture("in.png")
    old = tiny.save_old(tmp_path / "old")
    assert denoised(path, model=old, sigma="20").tobytes() == denoised(path, model=model, sigma="20").tobytes()


def test_pickles_of_the_oldest_layout_are_refused(tmp_path: Path) -> None:
    folder = tiny.save_old(tmp_path / "old", pickled=True)
    with pytest.raises(RefusedError, match="pickle"):
        denoised(save_picture("in.png"), model=folder, sigma="20")


def test_models_of_another_kind_are_refused(tmp_path: Path, sd1: str, model: str) -> None:
    from artgen import Txt2Img

    path = save_picture("in.png")
    with pytest.raises(ModelUnavailableError, match="no unconditional diffusion model of pixels"):
        denoised(path, model=sd1)
    with pytest.raises(ModelUnavailableError, match="without words and cannot do txt2img"):
        generate(Txt2Img(prompt="a fox", model=model))
    with pytest.raises(ModelUnavailableError, match="without words and cannot do latent"):
        denoised(path, model=model, method="latent")
    with pytest.raises(ModelUnavailableError, match="4 channels"):
        denoised(path, model=tiny.save(tmp_path / "four", tiny.unet(channels=4)))


def test_latent_denoising_runs_and_says_what_it_is(sd1: str) -> None:
    path, said = save_picture("in.png", size=(50, 41)), []
    picture = generate(Denoise(image=path, method="latent", model=sd1, sigma="25"), listener=said.append)
    assert picture.image.size == (50, 41)
    assert any(isinstance(event, Notice) and "creative clean-up" in event.text for event in said)
    assert picture.record["steps"] == 4
    again = generate(Denoise(image=path, method="latent", model=sd1, sigma="25"))
    assert picture.image.tobytes() == again.image.tobytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eta": 0.5}, "eta needs 2 steps"),
        ({"fidelity": 0.5}, "fidelity needs 2 steps"),
        ({"self_ensemble": 9}, "8 flips and turns"),
        ({"method": "tv", "steps": 3}, "tv takes no steps"),
        ({"method": "nlm", "model": "tiny"}, "nlm takes no model"),
        ({"method": "latent", "eta": 1.0}, "latent takes no eta"),
        ({"sigma": "strong"}, "sigma must be a number"),
        ({"sigma": "256"}, "sigma must be 0 to 255"),
        ({"sigma": "nan"}, "sigma must be 0 to 255"),
        ({"sigma": "auto*99"}, "multiplied by 0.1 to 10"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model: str, settings: dict[str, object], said: str) -> None:
    given = {"model": model, **settings} if settings.get("method") is None else settings
    with pytest.raises(UsageError, match=said):
        denoised(save_picture("in.png"), **given)


# -- the bundled model


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """A picture with edges, slopes and a texture, (height, width, 3)."""
    y, x = np.mgrid[0:96, 0:128].astype(float)
    picture = np.stack([40 + x, 60 + y, 200 - x], axis=-1)
    picture[20:60, 30:70] = (200, 80, 60)
    return picture + 8 * np.sin(x / 3)[..., None]


@pytest.mark.parametrize("sigma", [10, 25, 50])
def test_the_bundled_model_removes_noise(ramp: np.ndarray, sigma: int) -> None:
    from artgen.engine.metrics import compare_images

    noisy = np.clip(ramp + np.random.default_rng(0).normal(0, sigma, ramp.shape), 0, 255).round().astype(np.uint8)
    Image.fromarray(noisy).save("in.png")
    picture = generate(Denoise(image=Path("in.png")))
    reference = Image.fromarray(ramp.clip(0, 255).round().astype(np.uint8))
    before, after = (compare_images(each, reference)["psnr"] for each in (Image.open("in.png"), picture.image))
    assert after > before + 6
    assert picture.record["sigma_estimated"] == pytest.approx(sigma, rel=0.15)
    assert float(picture.record["sigma"]) == picture.record["sigma_estimated"]


def test_the_bundled_model_leaves_clean_pictures_alone(ramp: np.ndarray) -> None:
    from artgen.engine.metrics import compare_images

    clean = Image.fromarray(ramp.clip(0, 255).round().astype(np.uint8))
    clean.save("in.png")
    assert compare_images(denoised(Path("in.png")), clean)["psnr"] >= 38


def test_tiles_of_the_bundled_model_do_not_show() -> None:
    from dataclasses import replace

    found = pixel_denoiser.load_pixel_denoiser(registry.resolve_model("denoiser"), CPU, no_op)
    y, x = np.mgrid[0:160, 0:416].astype(np.float32)
    clean = np.stack([128 + 100 * np.sin(x / 40), 100 + 80 * np.sin(y / 30 + x / 90), x / 2])
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).astype(np.float32)
    whole, tiled = (
        replace(found.tiling, tile_size=tile).apply(lambda part: found.predict_x0(part, 25), noisy)
        for tile in (416, 128)
    )
    assert np.abs(whole - tiled).max() <= 1
