"""Test frames of denoising: their contents for each scheduler, and that recording does not change the image."""

import inspect
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_denoisers
import tiny_models
import torch
from command_line import FAST, run
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from artgen import Denoise, GeneratedImage, Img2Img, Inpaint, Outpaint, Request, Txt2Img, generate, generate_all
from artgen.engine.loading import schedulers
from artgen.engine.sampling import frames
from artgen.events import StepEvent
from artgen.spec.schedulers import SCHEDULERS
from artgen.spec.settings import FramesSettings

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


def _alpha_sigma(timestep: float) -> tuple[float, float]:
    """Return alpha and sigma of Stable Diffusion's schedule at a timestep, which no scheduler changes."""
    alpha_bar = DDIMScheduler(**SD).alphas_cumprod.double().numpy()
    sigma = np.interp(timestep, np.arange(1000), ((1 - alpha_bar) / alpha_bar) ** 0.5)
    return 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5


def _perfect_output(clean: torch.Tensor, state: torch.Tensor, timestep: float, prediction_type: str) -> torch.Tensor:
    """Return the output of a network that predicts `clean` exactly."""
    alpha, sigma = (1 - timestep / 1000, timestep / 1000) if prediction_type == "flow" else _alpha_sigma(timestep)
    epsilon = (state - alpha * clean) / sigma
    return {
        "epsilon": epsilon,
        "v_prediction": alpha * epsilon - sigma * clean,
        "sample": clean,
        "flow": epsilon - clean,
    }[prediction_type]


def _run(name: str, prediction_type: str, settings: FramesSettings, steps: int = 8) -> tuple[Any, Any, Any]:
    """Run a scheduler with a perfect network; return the clean latents, the last state and the recorder."""
    if prediction_type == "flow":
        model_scheduler = FlowMatchEulerDiscreteScheduler()
    else:
        model_scheduler = DDIMScheduler(**SD, prediction_type=prediction_type)
    scheduler = schedulers.build_scheduler(model_scheduler, name, None)
    scheduler.set_timesteps(steps)
    pipe = SimpleNamespace(scheduler=scheduler, num_timesteps=len(scheduler.timesteps))
    recorder = frames.StepRecorder(pipe, settings)
    generator = torch.Generator().manual_seed(3)
    clean = torch.randn((2, 4, 8, 8), generator=generator)
    sample = torch.randn((2, 4, 8, 8), generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
    kwargs = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in scheduler.timesteps:
        scale = getattr(scheduler, "scale_model_input", lambda sample, timestep: sample)
        output = _perfect_output(clean, scale(sample, timestep), float(timestep), prediction_type)
        sample = scheduler.step(output.float(), timestep, sample, **kwargs, return_dict=False)[0]
    return clean, sample, recorder


CASES = [
    (entry.name, prediction_type)
    for entry in SCHEDULERS
    for prediction_type in (("flow",) if entry.is_flow_matching else ("epsilon", "v_prediction", "sample"))
    if prediction_type != "sample" or entry.name not in ("dpm++sde", "euler-a", "dpm2", "dpm2-a", "pndm")  # unsupported
]


@pytest.mark.parametrize(("name", "prediction_type"), CASES)
def test_x0_of_each_scheduler_is_the_prediction_of_the_network(name: str, prediction_type: str) -> None:
    """With a perfect network the x0 of each step and the last state are the clean latents."""
    clean, last, recorder = _run(name, prediction_type, FramesSettings(frames="x.gif"))
    assert len(recorder.snapshots) == recorder.num_steps
    for snapshot in recorder.snapshots:
        torch.testing.assert_close(snapshot.latents, clean, atol=1e-3, rtol=0)
    # Some schedulers end at the sigma of the first training timestep, 0.03, instead of 0.
    torch.testing.assert_close(last, clean, atol=0.12, rtol=0)


@pytest.mark.parametrize("name", ["euler", "ddim", "dpm++2m", "heun"])
def test_states_have_unit_variance_and_decreasing_noise(name: str) -> None:
    """The scale of the states is independent of the scheduler's own scale."""
    _, _, recorder = _run(name, "epsilon", FramesSettings(frames="x.gif", frames_show="xt"))
    states = [each.latents for each in recorder.snapshots]
    assert all(0.8 < float(state.std()) < 1.2 for state in states)
    sigmas = [each.noise_level.sigma for each in recorder.snapshots]
    np.testing.assert_allclose(sigmas, sorted(sigmas, reverse=True), atol=1e-6)
    assert sigmas[0] > 0.99 > 0.5 > sigmas[-1]


def _pixels(image: Image.Image) -> Any:
    return np.asarray(image)


@pytest.fixture
def image_path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (30, 45, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    mask = Image.new("L", (45, 30))
    mask.paste(255, (4, 4, 20, 20))
    mask.save(tmp_path / "mask.png")
    return tmp_path / "in.png"


def _requests(model: str, image_path: Path) -> list[Request]:
    common: dict[str, Any] = {"model": model, "seed": 3, "steps": 4, "guidance_scale": 2.0}
    mask = image_path.with_name("mask.png")
    return [
        Txt2Img(prompt="a fox", **common),
        Img2Img(image=image_path, **common),
        Inpaint(image=image_path, mask=mask, **common),
        Outpaint(image=image_path, expand="left=5", **common),
    ]


@pytest.mark.parametrize("architecture", ["sd1", "sdxl", "sd3"])
def test_frames_end_with_the_image_and_do_not_change_it(
    models: dict[str, Path], image_path: Path, architecture: str
) -> None:
    requests = _requests(str(models[architecture]), image_path)
    plain = list(generate_all(requests))
    for frames_show in ("x0", "xt"):
        for before, request in zip(plain, requests, strict=True):
            steps: list[int] = []
            result = generate(
                request,
                frames=FramesSettings(frames_show=frames_show),
                listener=lambda event, steps=steps: (
                    steps.append(event.num_steps) if isinstance(event, StepEvent) else None
                ),
            )
            assert isinstance(before, GeneratedImage)
            assert not before.frames
            assert before.image.tobytes() == result.image.tobytes()
            assert before.record == result.record
            assert result.frames[-1].tobytes() == result.image.tobytes()
            assert len(result.frames) == steps[-1] + (frames_show == "xt")
            assert {frame.size for frame in result.frames} == {result.image.size}
            assert len({frame.tobytes() for frame in result.frames}) == len(result.frames)


def test_unmasked_pixels_are_the_input_in_x0_frames_and_noisy_in_xt_frames(sd1: str, image_path: Path) -> None:
    inpaint = _requests(sd1, image_path)[2]
    source, unmasked = _pixels(Image.open(image_path)), _pixels(Image.open(image_path.with_name("mask.png"))) == 0
    for frame in generate(inpaint, frames=FramesSettings()).frames:
        assert (_pixels(frame)[unmasked] == source[unmasked]).all()
    *states, last = generate(inpaint, frames=FramesSettings(frames_show="xt")).frames
    assert (_pixels(last)[unmasked] == source[unmasked]).all()
    assert all((_pixels(frame)[unmasked] != source[unmasked]).mean() > 0.5 for frame in states)


def test_images_of_one_pipeline_call_have_separate_frames(sd1: str) -> None:
    requests = [Txt2Img(prompt="a fox", model=sd1, seed=seed, steps=3) for seed in (1, 2)]
    both = list(generate_all(requests, batch_size=2, frames=FramesSettings()))
    for result, request in zip(both, requests, strict=True):
        assert isinstance(result, GeneratedImage)
        alone = generate(request, frames=FramesSettings())
        for one, other in zip(result.frames, alone.frames, strict=True):
            assert np.abs(_pixels(one).astype(int) - _pixels(other)).max() <= 1


@pytest.mark.parametrize(("every", "expected"), [(1, 10), (3, 4), (4, 4), (50, 2)])
def test_frame_interval_selects_every_kth_step_and_the_last(sd1: str, every: int, expected: int) -> None:
    result = generate(Txt2Img(prompt="x", model=sd1, seed=1, steps=10), frames=FramesSettings(frame_interval=every))
    assert len(result.frames) == expected


def test_frame_count_is_limited_to_one_hundred() -> None:
    _, _, recorder = _run("ddim", "epsilon", FramesSettings(frames="x.gif"), steps=250)
    assert len(recorder.snapshots) == 84


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm2"])
@pytest.mark.parametrize("frames_show", ["x0", "xt"])
def test_noising_frames_range_from_the_input_to_the_first_denoising_state(
    sd1: str, image_path: Path, scheduler: str, frames_show: str
) -> None:
    request = Img2Img(image=image_path, model=sd1, seed=3, steps=8, strength=0.5, scheduler=scheduler)
    plain = generate(request, frames=FramesSettings(frames_show=frames_show)).frames
    *before_last, _ = all_frames = generate(
        request, frames=FramesSettings(frames_show=frames_show, include_noising=True)
    ).frames
    num_noising = len(all_frames) - len(plain)
    assert [frame.tobytes() for frame in all_frames[num_noising:]] == [frame.tobytes() for frame in plain]
    assert all_frames[0].tobytes() == Image.open(image_path).tobytes()
    assert num_noising >= 4
    if frames_show == "xt":  # the change where noising ends is as small as between other frames
        steps = [np.abs(_pixels(a).astype(int) - _pixels(b)).mean() for a, b in pairwise(before_last[1:])]
        assert steps[num_noising - 2] <= 3 * max(np.delete(steps, num_noising - 2))


def test_frames_of_a_broken_model_are_not_saved(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tiny_models.without_numbers(tmp_path / "broken", models["sd1"])
    run("txt2img", "x", "-m", str(broken), *FAST, "--frames", "x.gif", code=9)
    assert not list(Path().rglob("*.gif"))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize(
    "settings", [{}, {"self_ensemble": 2}, {"eta": 0.5, "self_ensemble": 2, "seed": 1}, {"fidelity": 0.5}]
)
def test_frames_of_pixel_denoising(tmp_path: Path, mode: str, settings: dict[str, Any]) -> None:
    model = tiny_denoisers.save(tmp_path / "model")
    rng = np.random.default_rng(1)
    noisy = Image.fromarray(rng.integers(80, 170, (20, 30), dtype=np.uint8)).convert(mode)
    if mode == "RGBA":
        noisy.putalpha(200)
    noisy.save(tmp_path / "noisy.png")
    request = Denoise(image=tmp_path / "noisy.png", model=model, sigma="25", steps=4, **settings)
    plain = generate(request)
    for frames_show, expected in (("x0", 4), ("xt", 5)):
        result = generate(request, frames=FramesSettings(frames_show=frames_show))
        assert result.image.tobytes() == plain.image.tobytes() == result.frames[-1].tobytes()
        assert len(result.frames) == expected
        assert {frame.mode for frame in result.frames} == {mode} == {result.image.mode}
    assert result.frames[0].tobytes() == Image.open(request.image or "").tobytes()


def test_frames_of_a_color_image_with_a_gray_model(tmp_path: Path, image_path: Path) -> None:
    model = tiny_denoisers.save(tmp_path / "model", tiny_denoisers.unet(channels=1))
    result = generate(
        Denoise(image=image_path, model=model, sigma="25", steps=3), frames=FramesSettings(frames_show="xt")
    )
    assert result.frames[0].tobytes() == Image.open(image_path).tobytes()
    assert len(result.frames) == 4


def test_frames_of_latent_denoising_in_tiles(sd1: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(80, 170, (40, 70, 3), dtype=np.uint8)).save(tmp_path / "noisy.png")
    request = Denoise(image=tmp_path / "noisy.png", model=sd1, method="latent", sigma="200", steps=3, self_ensemble=2)
    plain = generate(request)
    result = generate(request, frames=FramesSettings())
    assert result.image.tobytes() == plain.image.tobytes() == result.frames[-1].tobytes()
    assert len(result.frames) == 3
    assert {frame.size for frame in result.frames} == {(70, 40)}
