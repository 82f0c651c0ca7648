"""Test denoising: noise levels, DDIM steps, tiles, and the properties of denoised images."""

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


def load(folder: str) -> PixelDenoiser:
    return pixel_denoiser.load_pixel_denoiser(registry.resolve_model(folder), CPU, no_op)


def noisy_image(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 255, (channels, height, width)).astype(np.float32)


def save_image(name: str, mode: str = "RGB", size: tuple[int, int] = (33, 21)) -> Path:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(5).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    Image.fromarray(values.squeeze(2) if bands == 1 else values, mode).save(name)
    return Path(name)


def denoised(image: Path, **settings: object) -> Image.Image:
    return generate(Denoise(image=image, **settings)).image  # type: ignore[arg-type]


# -- noise levels


def test_sigmas_equal_the_scheduler() -> None:
    scheduler = DDIMScheduler(beta_schedule="linear")
    schedule = sigma_schedule(scheduler.config, "it")
    alpha_bar = scheduler.alphas_cumprod.double().numpy()
    expected = PIXEL_HALF_RANGE * np.sqrt((1 - alpha_bar) / alpha_bar)
    np.testing.assert_allclose(schedule.sigmas[10:], expected[10:], rtol=1e-3)
    for timestep in (0, 17, 400, 999):
        assert schedule.timestep(schedule.sigmas[timestep]) == pytest.approx(timestep, abs=1e-6)
    assert 17 < schedule.timestep((schedule.sigmas[17] + schedule.sigmas[18]) / 2) < 18


def test_lowest_sigmas_are_exact_in_double_precision() -> None:
    sigmas = 0.1 * np.arange(1, 1001) / PIXEL_HALF_RANGE
    alpha_bar = 1 / (1 + sigmas**2)
    betas = 1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])
    schedule = sigma_schedule(DDIMScheduler(trained_betas=betas.tolist()).config, "it")
    np.testing.assert_allclose(schedule.sigmas, 0.1 * np.arange(1, 1001), rtol=1e-4)


def test_sigmas_of_the_steps_decrease_from_the_noise_level() -> None:
    schedule = sigma_schedule(DDIMScheduler().config, "it")
    for steps in (1, 2, 10):
        sigmas = schedule.sigmas_for(25, steps)
        assert (sigmas[0], len(sigmas)) == (25, steps)
        assert sigmas[-1] == pytest.approx(25 if steps == 1 else 10)
        assert all(a > b >= schedule.min_sigma for a, b in itertools.pairwise(sigmas))


@pytest.mark.parametrize(
    "config", [{"_class_name": "ScoreSdeVeScheduler"}, {"beta_schedule": "linear", "prediction_type": "flow"}]
)
def test_unsupported_schedules_are_rejected(config: dict[str, object]) -> None:
    with pytest.raises(ModelUnavailableError, match="Cannot read noise levels"):
        sigma_schedule(config, "it")


# -- DDIM steps


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_steps_equal_diffusers_ddim(tmp_path: Path, prediction: str, eta: float) -> None:
    settings = {"prediction_type": prediction, "clip_sample": False, "timestep_spacing": "trailing"}
    denoiser = load(tiny.save(tmp_path / "model", **settings))
    unet = UNet2DModel.from_pretrained(tmp_path / "model" / "unet").eval()
    scheduler = DDIMScheduler(**settings, steps_offset=0, set_alpha_to_one=True)
    scheduler.set_timesteps(100)  # 999, 989, ..., 9
    timesteps = [109, 99, 89]
    noisy, rng = noisy_image(tiny.SIZE, tiny.SIZE), np.random.default_rng(1)
    state = torch.from_numpy(noisy)[None] / PIXEL_HALF_RANGE - 1
    state = state * scheduler.alphas_cumprod[timesteps[0]].sqrt()
    with torch.inference_mode():
        for timestep in timesteps:
            output = unet(state, timestep).sample
            noise = torch.from_numpy(rng.standard_normal(noisy.shape, np.float32))[None]
            step = scheduler.step(output, timestep, state, eta=eta, variance_noise=noise if eta else None)
            state = step.prev_sample
        last_alpha_bar = scheduler.alphas_cumprod[timesteps[-1] - 10]
    sigmas = [float(denoiser.schedule.sigmas[timestep]) for timestep in (*timesteps, timesteps[-1] - 10)]
    states: list[np.ndarray] = []

    def predict_x0(image: np.ndarray, sigma: float) -> np.ndarray:
        states.append(image)
        return denoiser.predict_x0(image, sigma)

    ddim_denoise(predict_x0, noisy, sigmas, eta, np.random.default_rng(1))
    expected = (state / last_alpha_bar.sqrt())[0].numpy()
    np.testing.assert_allclose(states[-1] / PIXEL_HALF_RANGE - 1, expected, atol=2e-4)


def test_one_step_returns_the_posterior_mean(model: str) -> None:
    denoiser, noisy = load(model), noisy_image(tiny.SIZE, tiny.SIZE)
    sigmas = denoiser.schedule.sigmas_for(30, 1)
    first, last = ddim_denoise(denoiser.predict_x0, noisy, sigmas, 0, np.random.default_rng())
    np.testing.assert_array_equal(first, last)
    unet = UNet2DModel.from_pretrained(Path(model) / "unet").eval()
    sample, sigma = torch.from_numpy(noisy)[None] / PIXEL_HALF_RANGE - 1, 30 / PIXEL_HALF_RANGE
    with torch.inference_mode():
        output = unet(sample / (1 + sigma**2) ** 0.5, torch.tensor(denoiser.schedule.timestep(30))).sample
    np.testing.assert_allclose(first, ((sample - sigma * output)[0].numpy() + 1) * PIXEL_HALF_RANGE, atol=1e-2)


def test_learned_variance_is_ignored(tmp_path: Path) -> None:
    unet = tiny.unet(out_channels=6)
    denoiser, noisy = load(tiny.save(tmp_path / "model", unet)), noisy_image(tiny.SIZE, tiny.SIZE)
    assert denoiser.predict_x0(noisy, 30).shape == noisy.shape


def test_self_ensemble_inverts_flips_and_rotations() -> None:
    image = noisy_image(7, 5)
    for runs in (1, 3, 8):
        np.testing.assert_allclose(self_ensemble(lambda state: state, image, runs), image, rtol=1e-5)
    inputs: list[bytes] = []

    def denoise(state: np.ndarray) -> np.ndarray:
        inputs.append(state.tobytes())
        return state

    self_ensemble(denoise, noisy_image(6, 6), 8)
    assert len(set(inputs)) == 8


# -- tiles


def test_local_group_norm_of_one_window_equals_group_norm() -> None:
    group_norm = torch.nn.GroupNorm(4, 8)
    torch.nn.init.normal_(group_norm.weight)
    torch.nn.init.normal_(group_norm.bias)
    network = torch.nn.Sequential(group_norm)
    context = use_local_group_norm(network, 64)
    x = torch.randn(1, 8, 64, 64) * 3 + 1
    for side in (64, 32, 8):  # one window at three levels of a network
        context.image_height_px = 64
        part = x[:, :, :side, :side].contiguous()
        torch.testing.assert_close(network(part), group_norm(part), atol=1e-5, rtol=1e-5)
    assert isinstance(network[0], LocalGroupNorm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_local_group_norm_is_accurate_in_half_precision(dtype: torch.dtype) -> None:
    """Squares of the values overflow fp16, and the mean is large compared to the standard deviation."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.GroupNorm(2, 4))
    use_local_group_norm(network, 16).image_height_px = 32
    x = (300 + 20 * torch.randn(1, 4, 32, 32)).to(dtype)
    with torch.no_grad():
        exact = network(x.float())
        half = network.to(dtype)(x)
    assert half.dtype == dtype
    assert (half.float() - exact).abs().max() < (0.01 if dtype == torch.float16 else 0.05)


def test_local_statistics_are_independent_of_distant_pixels() -> None:
    network = torch.nn.Sequential(torch.nn.GroupNorm(1, 2, affine=True))
    context = use_local_group_norm(network, 16)
    context.image_height_px = 64
    x = torch.randn(1, 2, 64, 64)
    y = x.clone()
    y[:, :, :, 40:] *= 9
    torch.testing.assert_close(network(x)[..., :24], network(y)[..., :24])
    assert not torch.allclose(network(x)[..., 40:], network(y)[..., 40:])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (16, 16), (33, 50), (64, 47)])
@pytest.mark.parametrize("blend", [False, True])
def test_merged_tiles_equal_the_output_of_the_complete_image(size: tuple[int, int], blend: bool) -> None:
    tiling = Tiling(1 if blend else 4, 16, 16, 4, blend)
    image, calls = noisy_image(*size), []

    def predict(part: np.ndarray) -> np.ndarray:
        calls.append(part.shape)
        assert min(part.shape[1:]) >= 16
        return part * 2

    np.testing.assert_allclose(tiling.apply(predict, image), image * 2, rtol=1e-5)
    assert len(calls) == tiling.num_tiles(*size)
    if blend:
        assert set(calls) == {(3, 16, 16)}


def test_tile_inputs_have_a_maximum_size() -> None:
    largest = 0

    def predict(part: np.ndarray) -> np.ndarray:
        nonlocal largest
        largest = max(largest, *part.shape[1:])
        return part

    Tiling(8, 64, 64, 16).apply(predict, noisy_image(300, 500))
    assert largest == 64 + 2 * 16


# -- images


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 21), (16, 16), (47, 5)])
def test_output_size_equals_input_size(model: str, size: tuple[int, int]) -> None:
    image = denoised(save_image("in.png", size=size), model=model, sigma="20")
    assert image.size == size


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mode_and_transparency_are_preserved(tmp_path: Path, mode: str, channels: int) -> None:
    folder = tiny.save(tmp_path / "model", tiny.unet(channels=channels))
    before = Image.open(save_image("in.png", mode))
    after = denoised(Path("in.png"), model=folder, sigma="20")
    assert after.mode == mode
    assert after.tobytes() != before.tobytes()
    if mode.endswith("A"):
        assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()


def test_gray_image_in_rgb_mode_remains_gray(model: str) -> None:
    Image.open(save_image("gray.png", "L")).convert("RGB").save("in.png")
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
    result = generate(Denoise(image=Path("in.png"), method=method, sigma="20"))
    assert result.image.mode == mode
    before, after = (compare_images(each, reference)["psnr"] for each in (Image.open("in.png"), result.image))
    assert after > before + 5
    assert not result.record.keys() & {"model", "steps", "eta", "self_ensemble", "fidelity", "torch"}


def test_noise_below_the_lowest_trained_level_is_not_removed(tmp_path: Path) -> None:
    path, events = save_image("in.png"), []
    folder = tiny.save(tmp_path / "model", beta_start=0.01, beta_end=0.02)
    lowest = load(folder).schedule.min_sigma
    for sigma, note in ((lowest * 0.9, "too little noise"), (254.0, None)):
        events.clear()
        result = generate(Denoise(image=path, model=folder, sigma=f"{sigma:g}"), listener=events.append)
        notes = [event.text for event in events if isinstance(event, Notice)]
        assert any(note in text for text in notes) if note else not notes
        assert (result.image.tobytes() == Image.open(path).tobytes()) is (note is not None)


def test_noise_above_the_highest_trained_level_uses_the_highest_level(tmp_path: Path) -> None:
    events: list[Event] = []
    folder = tiny.save(tmp_path / "model", num_train_timesteps=20)
    highest = load(folder).schedule.max_sigma
    result = generate(Denoise(image=save_image("in.png"), model=folder, sigma="200"), listener=events.append)
    assert any(isinstance(event, Notice) and "the strongest noise that" in event.text for event in events)
    same = generate(Denoise(image=Path("in.png"), model=folder, sigma=str(highest)))
    assert result.image.tobytes() == same.image.tobytes()


def test_seed_matters_only_with_eta(model: str) -> None:
    path = save_image("in.png")
    first, again, other = (
        denoised(path, model=model, sigma="40", steps=3, eta=1.0, seed=seed).tobytes() for seed in (1, 1, 2)
    )
    assert first == again != other
    plain = generate(Denoise(image=path, model=model, sigma="40", steps=3))
    assert plain.record.get("seed") is None
    assert plain.image.tobytes() == denoised(path, model=model, sigma="40", steps=3, seed=9).tobytes()


def test_fidelity_blends_the_posterior_mean_and_the_sample(model: str) -> None:
    path = save_image("in.png")
    one = np.asarray(denoised(path, model=model, sigma="40"), float)
    many = np.asarray(denoised(path, model=model, sigma="40", steps=5), float)
    half = np.asarray(denoised(path, model=model, sigma="40", steps=5, fidelity=0.5), float)
    full = np.asarray(denoised(path, model=model, sigma="40", steps=5, fidelity=1.0), float)
    assert np.abs(one - many).max() > 2
    np.testing.assert_array_equal(full, one)
    inside = (many > 0) & (many < 255) & (one > 0) & (one < 255)
    assert np.abs(half - (one + many) / 2)[inside].max() <= 1.01


def test_self_ensemble_averages_runs(model: str) -> None:
    path = save_image("in.png")
    results = [denoised(path, model=model, sigma="40", self_ensemble=runs).tobytes() for runs in (1, 2, 8)]
    assert len(set(results)) == 3
    with_noise = {
        runs: denoised(path, model=model, sigma="40", steps=2, eta=1.0, seed=1, self_ensemble=runs) for runs in (1, 9)
    }
    assert with_noise[1].tobytes() != with_noise[9].tobytes()


# -- models


def test_model_with_attention_uses_tiles_of_its_native_size(tmp_path: Path) -> None:
    denoiser = load(tiny.save(tmp_path / "model", tiny.unet(attention=True)))
    assert denoiser.norm_context is None
    assert (denoiser.tiling.tile_size, denoiser.tiling.blend) == (tiny.SIZE, True)
    assert denoised(save_image("in.png"), model=str(tmp_path / "model"), sigma="20").size == (33, 21)


def test_oldest_layout_gives_the_same_image(tmp_path: Path, model: str) -> None:
    path = save_image("in.png")
    old = tiny.save_old(tmp_path / "old")
    assert denoised(path, model=old, sigma="20").tobytes() == denoised(path, model=model, sigma="20").tobytes()


def test_pickles_of_the_oldest_layout_are_rejected(tmp_path: Path) -> None:
    folder = tiny.save_old(tmp_path / "old", pickled=True)
    with pytest.raises(RefusedError, match="pickle"):
        denoised(save_image("in.png"), model=folder, sigma="20")


def test_models_of_other_architectures_are_rejected(tmp_path: Path, sd1: str, model: str) -> None:
    from artgen import Txt2Img

    path = save_image("in.png")
    with pytest.raises(ModelUnavailableError, match="not an unconditional pixel-space diffusion model"):
        denoised(path, model=sd1)
    with pytest.raises(ModelUnavailableError, match="models take no prompt and no image"):
        generate(Txt2Img(prompt="a fox", model=model))
    with pytest.raises(
        ModelUnavailableError, match="with --method latent: it is a pixel-space diffusion model without a prompt"
    ):
        denoised(path, model=model, method="latent")
    with pytest.raises(ModelUnavailableError, match="4 input channels"):
        denoised(path, model=tiny.save(tmp_path / "four", tiny.unet(channels=4)))


def test_latent_denoising_is_deterministic_and_gives_a_notice(sd1: str) -> None:
    path, events = save_image("in.png", size=(50, 41)), []
    result = generate(Denoise(image=path, method="latent", model=sd1, sigma="25"), listener=events.append)
    assert result.image.size == (50, 41)
    assert any(isinstance(event, Notice) and "Latent denoising is generative" in event.text for event in events)
    assert result.record["steps"] == 4
    again = generate(Denoise(image=path, method="latent", model=sd1, sigma="25"))
    assert result.image.tobytes() == again.image.tobytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": 0.5}, "eta needs 2 steps"),
        ({"fidelity": 0.5}, "fidelity needs 2 steps"),
        ({"self_ensemble": 9}, "8 flips and rotations"),
        ({"method": "tv", "steps": 3}, "tv does not support steps"),
        ({"method": "nlm", "model": "tiny"}, "nlm does not support model"),
        ({"method": "latent", "eta": 1.0}, "latent does not support eta"),
        ({"sigma": "strong"}, "sigma must be a number"),
        ({"sigma": "256"}, "sigma must be 0 to 255"),
        ({"sigma": "nan"}, "sigma must be 0 to 255"),
        ({"sigma": "auto*99"}, "must be 0.1 to 10"),
    ],
)
def test_incompatible_settings_are_rejected(model: str, settings: dict[str, object], message: str) -> None:
    model_settings = {} if "method" in settings else {"model": model}
    with pytest.raises(UsageError, match=message):
        denoised(save_image("in.png"), **model_settings, **settings)


# -- the bundled model


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """Return an image with edges, gradients and texture, shape (H, W, 3)."""
    y, x = np.mgrid[0:96, 0:128].astype(float)
    image = np.stack([40 + x, 60 + y, 200 - x], axis=-1)
    image[20:60, 30:70] = (200, 80, 60)
    return image + 8 * np.sin(x / 3)[..., None]


@pytest.mark.parametrize("sigma", [10, 25, 50])
def test_bundled_model_removes_noise(ramp: np.ndarray, sigma: int) -> None:
    from artgen.engine.metrics import compare_images

    noisy = np.clip(ramp + np.random.default_rng(0).normal(0, sigma, ramp.shape), 0, 255).round().astype(np.uint8)
    Image.fromarray(noisy).save("in.png")
    result = generate(Denoise(image=Path("in.png")))
    reference = Image.fromarray(ramp.clip(0, 255).round().astype(np.uint8))
    before, after = (compare_images(each, reference)["psnr"] for each in (Image.open("in.png"), result.image))
    assert after > before + 6
    assert result.record["sigma_estimated"] == pytest.approx(sigma, rel=0.15)
    assert float(result.record["sigma"]) == result.record["sigma_estimated"]


def test_bundled_model_preserves_clean_images(ramp: np.ndarray) -> None:
    from artgen.engine.metrics import compare_images

    clean = Image.fromarray(ramp.clip(0, 255).round().astype(np.uint8))
    clean.save("in.png")
    assert compare_images(denoised(Path("in.png")), clean)["psnr"] >= 38


def test_tiles_of_the_bundled_model_have_no_seams() -> None:
    from dataclasses import replace

    denoiser = pixel_denoiser.load_pixel_denoiser(registry.resolve_model("denoiser"), CPU, no_op)
    y, x = np.mgrid[0:160, 0:416].astype(np.float32)
    clean = np.stack([128 + 100 * np.sin(x / 40), 100 + 80 * np.sin(y / 30 + x / 90), x / 2])
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).astype(np.float32)
    complete, tiled = (
        replace(denoiser.tiling, tile_size=tile_size).apply(lambda tile: denoiser.predict_x0(tile, 25), noisy)
        for tile_size in (416, 128)
    )
    assert np.abs(complete - tiled).max() <= 1
