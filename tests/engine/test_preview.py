"""Test previews: they do not change the image, they show the estimate, and their cost is limited."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import FAST, run
from PIL import Image, ImageChops, ImageStat

from artgen.engine.generate import generate_jobs
from artgen.engine.generation_context import GenerationContext
from artgen.engine.sampling import preview
from artgen.events import Event, Preview
from artgen.jobs.prepare import prepare_jobs
from artgen.spec.base_requests import Request
from artgen.spec.requests import Img2Img, Sample, Txt2Img


def generate(request: Request, *, previews: bool, frames: Any = None) -> tuple[Any, list[Image.Image]]:
    """Return the result of a request and its previews."""
    images: list[Image.Image] = []

    def listen(event: Event) -> None:
        if isinstance(event, Preview):
            images.append(event.image)

    jobs = prepare_jobs([request])
    context = GenerationContext(previews=previews)
    return next(generate_jobs(jobs, context=context, frames=frames, listener=listen)), images


@pytest.mark.parametrize("scheduler", ["euler", "euler-ancestral", "dpm++2m", "ddim", "heun", "lcm"])
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_previews_do_not_change_the_image(
    name: str, scheduler: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(preview, "MAX_TIME_SHARE", 1e9)
    request = Txt2Img(prompt="x", model=str(models[name]), steps=4, seed=7, scheduler=scheduler)
    plain, none = generate(request, previews=False)
    shown, images = generate(request, previews=True)
    assert none == []
    assert len(images) >= 4
    assert shown.image.tobytes() == plain.image.tobytes()
    assert shown.record == plain.record


def test_previews_of_other_pipelines_do_not_change_the_image(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(preview, "MAX_TIME_SHARE", 1e9)
    Image.effect_noise((64, 64), 50).convert("RGB").save("in.png")
    for request in (
        Img2Img(image=Path("in.png"), prompt="x", model=str(models["sd1"]), steps=4, strength=0.5, seed=7),
        Sample(model="denoiser", steps=3, seed=7),
    ):
        plain, _ = generate(request, previews=False)
        shown, images = generate(request, previews=True)
        assert shown.image.tobytes() == plain.image.tobytes()
        assert images
        assert all(max(image.size) <= 8 * preview.MAX_LATENT_SIDE for image in images)


def test_previews_approach_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(preview, "MAX_TIME_SHARE", 1e9)
    result, images = generate(Txt2Img(prompt="a red fox", model="tiny", steps=8, seed=7), previews=True)
    distances = [
        ImageStat.Stat(ImageChops.difference(image.convert("RGB"), result.image.resize(image.size))).sum[0]
        for image in images
    ]
    assert distances[-1] < distances[0] / 2


def test_previews_and_frames_work_together(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.spec.settings import FramesSettings

    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    request = Txt2Img(prompt="x", model=str(models["sd1"]), steps=4, seed=7)
    plain, _ = generate(request, previews=False, frames=FramesSettings(frames="x.gif"))
    shown, images = generate(request, previews=True, frames=FramesSettings(frames="x.gif"))
    assert images
    assert [frame.tobytes() for frame in shown.frames] == [frame.tobytes() for frame in plain.frames]


class Recorder:
    """Represent a recorder whose decoding takes a fixed time."""

    def __init__(self, seconds: float) -> None:
        self.snapshots: list[Any] = []
        self.on_step: Any = None
        self.num_decoded = 0
        self._seconds = seconds

    def decode(self, latents: list[torch.Tensor]) -> list[Image.Image]:
        self.num_decoded += 1
        time.sleep(self._seconds)
        return [Image.new("RGB", (8, 8)) for _ in latents]


def test_share_of_the_time_of_previews_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    recorder = Recorder(0.02)
    preview.PreviewSender(recorder, lambda _: None, has_vae=True)  # type: ignore[arg-type]
    snapshot = type("Snapshot", (), {"latents": torch.zeros(1, 4, 8, 8)})()
    start = time.monotonic()
    for _ in range(100):
        recorder.snapshots.append(snapshot)
        recorder.on_step()
        time.sleep(0.002)
    seconds = time.monotonic() - start
    assert 0 < recorder.num_decoded <= 1 + seconds * preview.MAX_TIME_SHARE / 0.02
    assert recorder.snapshots == []


@pytest.mark.parametrize(("size", "expected"), [((64, 64), (24, 24)), ((96, 48), (24, 12)), ((8, 8), (8, 8))])
def test_large_latents_are_reduced(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert preview._reduce(torch.zeros(4, *size), preview.MAX_LATENT_SIDE).shape == (4, *expected)


def test_preview_without_a_terminal_gives_a_note_and_the_same_record(sd1: str) -> None:
    typed = run("txt2img", "x", "-m", sd1, *FAST, "-o", "a.png", "--preview")
    assert "No preview is shown: stderr is not a terminal." in typed.stderr
    assert "No preview" not in run("txt2img", "x", "-m", sd1, *FAST, "-o", "b.png").stderr
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    swept = run("txt2img", "x", "-m", sd1, *FAST, "--sweep", "steps=1,2", "--preview", "--dry-run")
    assert "No preview is shown" in swept.stderr


def test_preview_without_steps_gives_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artgen.cli.display._hidden_reason", lambda: "")
    Image.new("RGB", (64, 64)).save("in.png")
    done = run("img2img", "in.png", "-m", "tiny", *FAST, "--strength", "0", "--preview", "-o", "out.png")
    assert "No preview is shown: with strength 0, no step runs." in done.stderr


def test_every_model_with_frames_has_previews(zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.0)
    for name in ("sd3", "pixart"):
        if name in zoo:
            _, images = generate(Txt2Img(prompt="x", model=str(zoo[name]), steps=2, seed=1), previews=True)
            assert images, name
