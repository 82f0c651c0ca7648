"""Frames of denoising: what they show for every scheduler, and that they change no picture."""

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


def _shares(t: float) -> tuple[float, float]:
    """How much of picture and noise a model of Stable Diffusion sees at timestep t, whatever the scheduler."""
    kept = DDIMScheduler(**SD).alphas_cumprod.double().numpy()
    sigma = np.interp(t, np.arange(1000), ((1 - kept) / kept) ** 0.5)
    return 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5


def _told(clean: torch.Tensor, state: torch.Tensor, t: float, prediction: str) -> torch.Tensor:
    """What a network says that knows the picture."""
    kept, noise = (1 - t / 1000, t / 1000) if prediction == "flow" else _shares(t)
    epsilon = (state - kept * clean) / noise
    return {
        "epsilon": epsilon,
        "v_prediction": kept * epsilon - noise * clean,
        "sample": clean,
        "flow": epsilon - clean,
    }[prediction]


def _run(name: str, prediction: str, wanted: FramesSettings, steps: int = 8) -> tuple[torch.Tensor, torch.Tensor, Any]:
    own = FlowMatchEulerDiscreteScheduler() if prediction == "flow" else DDIMScheduler(**SD, prediction_type=prediction)
    scheduler = schedulers.build_scheduler(own, name, None)
    scheduler.set_timesteps(steps)
    pipe = SimpleNamespace(scheduler=scheduler, num_timesteps=len(scheduler.timesteps))
    recorder = frames.StepRecorder(pipe, wanted)
    random = torch.Generator().manual_seed(3)
    clean = torch.randn((2, 4, 8, 8), generator=random)
    sample = torch.randn((2, 4, 8, 8), generator=random) * getattr(scheduler, "init_noise_sigma", 1.0)
    more = {"generator": random} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for t in scheduler.timesteps:
        scale = getattr(scheduler, "scale_model_input", lambda sample, t: sample)
        told = _told(clean, scale(sample, t), float(t), prediction)
        sample = scheduler.step(told.float(), t, sample, **more, return_dict=False)[0]
    return clean, sample, recorder


CASES = [
    (entry.name, prediction)
    for entry in SCHEDULERS
    for prediction in (("flow",) if entry.is_flow_matching else ("epsilon", "v_prediction", "sample"))
    if prediction != "sample" or entry.name not in ("dpm++sde", "euler-a", "dpm2", "dpm2-a", "pndm")  # not theirs
]


@pytest.mark.parametrize(("name", "prediction"), CASES)
def test_every_scheduler_shows_what_the_network_expects(name: str, prediction: str) -> None:
    """A network that knows the picture expects it at every step; in the end the state is that picture."""
    clean, last, recorder = _run(name, prediction, FramesSettings(frames="x.gif"))
    assert len(recorder.snapshots) == recorder.num_steps
    for each in recorder.snapshots:
        torch.testing.assert_close(each.latents, clean, atol=1e-3, rtol=0)
    # Some end at the noise of the first trained timestep, 0.03, instead of at none.
    torch.testing.assert_close(last, clean, atol=0.12, rtol=0)


@pytest.mark.parametrize("name", ["euler", "ddim", "dpm++2m", "heun"])
def test_states_are_shown_at_one_scale(name: str) -> None:
    """Noise of deviation 1 at first, whatever the scheduler's own scale, and the share of noise falls."""
    _, _, recorder = _run(name, "epsilon", FramesSettings(frames="x.gif", frames_show="xt"))
    states = [each.latents for each in recorder.snapshots]
    assert all(0.8 < float(state.std()) < 1.2 for state in states)
    noises = [each.noise_level.sigma for each in recorder.snapshots]
    np.testing.assert_allclose(noises, sorted(noises, reverse=True), atol=1e-6)
    assert noises[0] > 0.99 > 0.5 > noises[-1]


def _pixels(image: Image.Image) -> Any:
    return np.asarray(image)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (30, 45, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    mask = Image.new("L", (45, 30))
    mask.paste(255, (4, 4, 20, 20))
    mask.save(tmp_path / "mask.png")
    return tmp_path / "in.png"


def _requests(model: str, picture: Path) -> list[Request]:
    more: dict[str, Any] = {"model": model, "seed": 3, "steps": 4, "guidance_scale": 2.0}
    mask = picture.with_name("mask.png")
    return [
        Txt2Img(prompt="a fox", **more),
        Img2Img(image=picture, **more),
        Inpaint(image=picture, mask=mask, **more),
        Outpaint(image=picture, expand="left=5", **more),
    ]


@pytest.mark.parametrize("architecture", ["sd1", "sdxl", "sd3"])
def test_frames_end_in_the_picture_and_change_nothing(
    models: dict[str, Path], picture: Path, architecture: str
) -> None:
    requests = _requests(str(models[architecture]), picture)
    plain = list(generate_all(requests))
    for shown in ("x0", "xt"):
        for before, request in zip(plain, requests, strict=True):
            steps: list[int] = []
            made = generate(
                request,
                frames=FramesSettings(frames_show=shown),
                listener=lambda event, steps=steps: (
                    steps.append(event.num_steps) if isinstance(event, StepEvent) else None
                ),
            )
            assert isinstance(before, GeneratedImage)
            assert not before.frames
            assert before.image.tobytes() == made.image.tobytes()
            assert before.record == made.record
            assert made.frames[-1].tobytes() == made.image.tobytes()
            assert len(made.frames) == steps[-1] + (shown == "xt")
            assert {frame.size for frame in made.frames} == {made.image.size}
            assert len({frame.tobytes() for frame in made.frames}) == len(made.frames)


def test_what_is_kept_is_the_input_in_estimates_and_noisy_in_states(sd1: str, picture: Path) -> None:
    inpaint = _requests(sd1, picture)[2]
    source, kept = _pixels(Image.open(picture)), _pixels(Image.open(picture.with_name("mask.png"))) == 0
    for frame in generate(inpaint, frames=FramesSettings()).frames:
        assert (_pixels(frame)[kept] == source[kept]).all()
    *states, last = generate(inpaint, frames=FramesSettings(frames_show="xt")).frames
    assert (_pixels(last)[kept] == source[kept]).all()
    assert all((_pixels(frame)[kept] != source[kept]).mean() > 0.5 for frame in states)


def test_pictures_drawn_together_have_frames_of_their_own(sd1: str) -> None:
    requests = [Txt2Img(prompt="a fox", model=sd1, seed=seed, steps=3) for seed in (1, 2)]
    both = list(generate_all(requests, batch_size=2, frames=FramesSettings()))
    for made, request in zip(both, requests, strict=True):
        assert isinstance(made, GeneratedImage)
        alone = generate(request, frames=FramesSettings())
        for one, other in zip(made.frames, alone.frames, strict=True):
            assert np.abs(_pixels(one).astype(int) - _pixels(other)).max() <= 1


@pytest.mark.parametrize(("every", "expected"), [(1, 10), (3, 4), (4, 4), (50, 2)])
def test_every_kth_step_and_the_last(sd1: str, every: int, expected: int) -> None:
    made = generate(Txt2Img(prompt="x", model=sd1, seed=1, steps=10), frames=FramesSettings(frame_interval=every))
    assert len(made.frames) == expected


def test_many_steps_make_no_more_than_a_hundred_frames() -> None:
    _, _, recorder = _run("ddim", "epsilon", FramesSettings(frames="x.gif"), steps=250)
    assert len(recorder.snapshots) == 84


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm2"])
@pytest.mark.parametrize("shown", ["x0", "xt"])
def test_noise_first_goes_from_the_input_to_where_denoising_begins(
    sd1: str, picture: Path, scheduler: str, shown: str
) -> None:
    request = Img2Img(image=picture, model=sd1, seed=3, steps=8, strength=0.5, scheduler=scheduler)
    plain = generate(request, frames=FramesSettings(frames_show=shown)).frames
    *forward, _ = found = generate(request, frames=FramesSettings(frames_show=shown, include_noising=True)).frames
    more = len(found) - len(plain)
    assert [frame.tobytes() for frame in found[more:]] == [frame.tobytes() for frame in plain]
    assert found[0].tobytes() == Image.open(picture).tobytes()
    assert more >= 4
    if shown == "xt":  # from one to the next it is one walk: no leap where noising ends
        steps = [np.abs(_pixels(a).astype(int) - _pixels(b)).mean() for a, b in pairwise(forward[1:])]
        assert steps[more - 2] <= 3 * max(np.delete(steps, more - 2))


def test_frames_of_a_broken_model_are_none(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tiny_models.without_numbers(tmp_path / "broken", models["sd1"])
    run("txt2img", "x", "-m", str(broken), *FAST, "--frames", "x.gif", code=9)
    assert not list(Path().rglob("*.gif"))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize(
    "more", [{}, {"self_ensemble": 2}, {"eta": 0.5, "self_ensemble": 2, "seed": 1}, {"fidelity": 0.5}]
)
def test_denoising_pixels(tmp_path: Path, mode: str, more: dict[str, Any]) -> None:
    model = tiny_denoisers.save(tmp_path / "model")
    random = np.random.default_rng(1)
    noisy = Image.fromarray(random.integers(80, 170, (20, 30), dtype=np.uint8)).convert(mode)
    if mode == "RGBA":
        noisy.putalpha(200)
    noisy.save(tmp_path / "noisy.png")
    request = Denoise(image=tmp_path / "noisy.png", model=model, sigma="25", steps=4, **more)
    plain = generate(request)
    for shown, expected in (("x0", 4), ("xt", 5)):
        made = generate(request, frames=FramesSettings(frames_show=shown))
        assert made.image.tobytes() == plain.image.tobytes() == made.frames[-1].tobytes()
        assert len(made.frames) == expected
        assert {frame.mode for frame in made.frames} == {mode} == {made.image.mode}
    assert made.frames[0].tobytes() == Image.open(request.image or "").tobytes()


def test_denoising_grey_planes_of_a_coloured_picture(tmp_path: Path, picture: Path) -> None:
    model = tiny_denoisers.save(tmp_path / "model", tiny_denoisers.unet(channels=1))
    made = generate(Denoise(image=picture, model=model, sigma="25", steps=3), frames=FramesSettings(frames_show="xt"))
    assert made.frames[0].tobytes() == Image.open(picture).tobytes()
    assert len(made.frames) == 4


def test_denoising_latents_in_tiles(sd1: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(80, 170, (40, 70, 3), dtype=np.uint8)).save(tmp_path / "noisy.png")
    request = Denoise(image=tmp_path / "noisy.png", model=sd1, method="latent", sigma="200", steps=3, self_ensemble=2)
    plain = generate(request)
    made = generate(request, frames=FramesSettings())
    assert made.image.tobytes() == plain.image.tobytes() == made.frames[-1].tobytes()
    assert len(made.frames) == 3
    assert {frame.size for frame in made.frames} == {(70, 40)}
